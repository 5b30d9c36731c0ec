"""What is set must count, on Gymnasium and on logs as well; and training that leaves the finite numbers says so."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from algorithms.bc import BC
from algorithms.cql import CQL
from algorithms.sac import SAC
from algorithms.value import ValueRule
from bench.checks.transitions import cases
from bench.errors import ConfigError, DivergedError
from bench.resolve import Request, resolve
from bench.run import execute_seeds
from bench.store import RunStore

REFUSED: list[tuple[str, str, tuple[str, ...], str]] = [
    ("a2c", "cartpole", ("train.epochs=2",), "train.epochs is 2, but a2c takes one optimizer step per rollout batch"),
    ("a2c", "cartpole", ("train.batch=20",), "train.batch is 20, but a2c takes one optimizer step per rollout batch, of train.envs x"),
    ("a2c", "cartpole", ("train.clip_end=0.5",), "train.clip_end is 0.5, but a2c has no clip range"),
    ("reinforce", "cartpole", ("algo.decay=0.5",), "algo.decay is 0.5, but baseline is whiten; set algo.baseline=ema"),
    ("sac", "pendulum", ("algo.version=v1", "algo.learn_temperature=true"), "algo.learn_temperature is True, but version v1 has a fixed"),
    ("sac", "pendulum", ("algo.version=v1", "algo.target_entropy=-2"), "algo.target_entropy is -2.0, but the temperature is fixed"),
    ("bc", "cartpole_logged", ("algo.gamma=0.9",), "algo.gamma is 0.9, but bc looks at no reward and at no later state"),
    ("dqn", "cartpole_logged", ("algo.target_clock=environment",), "algo.target_clock is environment, and a log has no environment steps"),
    ("untrained", "cartpole", ("algo.entropy_bonus=0.1",), "algo.entropy_bonus is 0.1, but untrained leaves the policy as it is"),
]
TAKEN: list[tuple[str, str, tuple[str, ...]]] = [
    ("a2c", "cartpole", ("train.steps=10", "train.epochs=1")),
    ("ppo", "cartpole", ("train.clip_end=0.5", "train.batch=32")),
    ("sac", "pendulum", ("algo.version=v1", "algo.temperature=0.2")),
    ("dqn", "cartpole_logged", ("algo.target_clock=gradient", "algo.target_every=100", "algo.tau=1")),
]


def resolved(algorithm: str, task: str, settings: tuple[str, ...], budget: int = 0) -> Any:
    return resolve(Request(algorithm=algorithm, task=task, seed=0, budget=budget, settings=settings))


@pytest.mark.parametrize(("algorithm", "task", "settings", "message"), REFUSED)
def test_settings_without_effect_are_refused(algorithm: str, task: str, settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolved(algorithm, task, settings)


@pytest.mark.parametrize(("algorithm", "task", "settings"), TAKEN)
def test_settings_with_an_effect_are_taken(algorithm: str, task: str, settings: tuple[str, ...]) -> None:
    resolved(algorithm, task, settings)


def test_a_list_that_is_none_is_answered_with_the_form_of_one() -> None:
    message = "train.hidden is '[8, 8]'; it takes values of type int with | between them"
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolved("dqn", "cartpole", ("train.hidden=[8, 8]",))


def test_settings_of_continuous_actions_are_refused_where_actions_are_discrete(tmp_path: Path) -> None:
    spec = resolved("cql", "cartpole_logged", ("algo.backup=soft",))
    with pytest.raises(ConfigError, match=r"algo\.backup is soft, but with discrete actions the penalty is exact"):
        execute_seeds([spec], RunStore(tmp_path), lambda spec, record: None)


@pytest.mark.parametrize("rule", [BC(), SAC(version="v1"), SAC(learn_temperature=False), CQL()], ids=repr)
def test_what_a_value_rule_calls_idle_moves_no_loss(rule: ValueRule) -> None:
    seen = set()
    for case in cases(rule, "idle"):
        wanted = case.losses()
        for name in {**rule.idle(), **rule.idle_with(case.space)}:
            found = replace(case, rule=replace(rule, **{name: other(getattr(rule, name))})).losses()
            assert [n for n, _ in found] == [n for n, _ in wanted]
            assert all(torch.equal(a, b) for (_, a), (_, b) in zip(found, wanted, strict=True)), name
            seen.add(name)
    assert seen


def other(value: Any) -> Any:
    """Another value of a setting that is none of these."""
    others = {"mean_action": "soft", "log": "linear", None: -3.0}
    return others[value] if value in others else not value if isinstance(value, bool) else 7 if isinstance(value, int) else value / 2


@pytest.mark.parametrize(("algorithm", "task"), [("dqn", "cartpole"), ("cql", "pendulum_logged")])
def test_training_that_leaves_the_finite_numbers_ends_with_its_seed_and_the_rate(algorithm: str, task: str, tmp_path: Path) -> None:
    small = ("train.hidden=8", "train.lr=1e30", "train.eval_points=1", "train.eval_episodes=1")
    specs = [replace(resolved(algorithm, task, small, 2000), seed=seed) for seed in (3, 4)]
    with pytest.raises(DivergedError, match=r"seed 3 diverged at step \d+ \(.* is (nan|inf|-inf)\); lower train.lr"):
        execute_seeds(specs, RunStore(tmp_path), lambda spec, record: None)
    marked = {info.spec.seed: (info.state, info.failure) for info in RunStore(tmp_path).runs() if info.spec is not None}
    assert marked == {3: ("failed", "diverged"), 4: ("stopped", None)}
