"""Every value rule's losses against the second computation of tests/independent_values.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from independent_values import Plain, Step, losses

from bench.checks.batches import close
from bench.checks.transitions import Case, cases
from bench.registry import load

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("dqn", {}),
    ("dqn", {"loss": "mse"}),
    ("dqn", {"double": True}),
    ("dqn", {"dueling": True}),
    ("dqn", {"dueling": True, "double": True, "loss": "mse"}),
    ("sac", {}),
    ("sac", {"temperature_loss": "linear"}),
    ("sac", {"target_entropy": 0.7}),
    ("sac", {"learn_temperature": False, "temperature": 0.3}),
    ("sac", {"version": "v1", "temperature": 0.4}),
    ("cql", {}),
    ("cql", {"weight": 5.0, "backup": "sampled", "samples": 3}),
    ("cql", {"backup": "soft"}),
    ("cql", {"backup": "soft", "learn_temperature": False, "temperature": 0.3}),
    ("cql", {"importance": False}),
    ("cql", {"threshold": 1.5, "weight": 2.0}),
    ("cql", {"threshold": 0.5, "importance": False}),
    ("bc", {}),
]


def plain(case: Case) -> Plain:
    rows = zip(*(getattr(case.batch, name).tolist() for name in Step.__annotations__), strict=True)
    weights = {name: [w.tolist() for w in layers] for name, layers in case.weights.items()}
    return Plain(weights, [Step(*row) for row in rows], {name: noise.tolist() for name, noise in case.noise.items()})


@pytest.mark.parametrize("name", ["a", "b", "c"])
@pytest.mark.parametrize(("rule", "settings"), SETTINGS, ids=str)
def test_losses_are_those_written_out_by_hand(rule: str, settings: dict[str, Any], name: str) -> None:
    for case in cases(load("algorithms", rule)(**settings), name):
        wanted = losses(rule, settings, case.space.discrete, plain(case))
        found = case.losses()
        assert [key for key, _ in found] == list(wanted)
        for key, loss in found:
            close(loss.detach(), torch.tensor(wanted[key], dtype=torch.float64), f"loss of {key}", 1e-11)


def test_both_branches_of_the_huber_loss_are_taken() -> None:
    (case,) = cases(load("algorithms", "dqn")(), "a")
    (_, huber), (_, square) = case.losses()[0], next(cases(load("algorithms", "dqn")(loss="mse"), "a")).losses()[0]
    assert (square < 1).any() and (square > 1).any() and torch.equal(huber[square < 1], square[square < 1] / 2)
