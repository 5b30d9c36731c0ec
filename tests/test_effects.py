"""What is set must count: settings that would have no effect are refused before anything expensive, and only those."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from algorithms.base import PolicyGradient
from algorithms.dapo import DAPO
from algorithms.dpo import DPO
from algorithms.reinforce import Reinforce
from algorithms.sapo import SAPO
from bench.checks.batches import batch, forward, step
from bench.errors import ConfigError
from bench.registry import load, names
from bench.resolve import Request, resolve

STEP_ONCE = "takes one optimizer step per rollout batch; leave it out, or choose another algorithm"
STAYS = "untrained leaves the start model as it is; leave it out, or choose another algorithm"
REFUSED: list[tuple[str, tuple[str, ...], str]] = [
    ("sft_on_correct", ("algo.kl=100", "algo.kl_estimator=k1"), "algo.kl is 100.0, but k1 goes into the reward, of which there is none"),
    ("grpo", ("algo.kl_horizon=50",), "algo.kl_horizon is 50, but algo.kl does not adapt; set algo.kl_target"),
    ("grpo", ("train.shared_trunk=true",), "train.shared_trunk is True, but grpo has no critic; leave it out, or choose an algorithm"),
    ("dpo", ("algo.every=4",), "algo.every is 4, but sampling is online; set algo.sampling=iterative"),
    ("dpo", ("algo.every=4", "algo.sampling=offline"), "algo.every is 4, but sampling is offline"),
    ("a2c", ("train.epochs=2",), f"train.epochs is 2, but a2c {STEP_ONCE}"),
    ("a2c", ("train.minibatches=8",), f"train.minibatches is 8, but a2c {STEP_ONCE}"),
    ("reinforce", ("train.epochs=4",), f"train.epochs is 4, but reinforce {STEP_ONCE}"),
    ("reinforce", ("algo.decay=0.5",), "algo.decay is 0.5, but baseline is batch_loo; set algo.baseline=ema"),
    ("dapo", ("algo.dynamic_sampling=false", "algo.surplus=carry"), "algo.surplus is carry, but no group is sampled again"),
    ("dapo", ("algo.overlong_soft=false", "algo.overlong_cache=0.5"), "algo.overlong_cache is 0.5, but length costs nothing"),
    ("sapo", ("algo.eta=2",), "algo.eta is 2.0, but gate is sigmoid, which does not have it; choose another algo.gate"),
    ("untrained", ("algo.entropy_bonus=0.1",), f"algo.entropy_bonus is 0.1, but {STAYS}"),
    ("untrained", ("algo.kl=0.1",), f"algo.kl is 0.1, but {STAYS}"),
    ("untrained", ("train.ptx_coef=1",), f"train.ptx_coef is 1.0, but {STAYS}"),
    ("untrained", ("train.weight_decay=0.1",), f"train.weight_decay is 0.1, but {STAYS}"),
    ("dpo", ("algo.beta=0",), "beta is 0, where every policy has the same loss; set it above 0"),
    ("dpo", ("algo.label_smoothing=0.5",), "label_smoothing is 0.5, where both orders of a pair are worth the same; set it below 0.5"),
    ("grpo", ("train.beta1=1",), "train.beta1 is 1.0; it must be 0 or more and below 1"),
    ("grpo", ("train.beta2=-0.1",), "train.beta2 is -0.1; it must be 0 or more and below 1"),
]
TAKEN: list[tuple[str, tuple[str, ...]]] = [
    ("sft_on_correct", ("algo.kl=0.1", "algo.kl_estimator=k2", "train.epochs=2")),
    ("grpo", ("algo.kl_horizon=50", "algo.kl=0.1", "algo.kl_target=0.1", "train.shared_trunk=false", "train.beta1=0")),
    ("ppo", ("train.shared_trunk=true", "train.epochs=4", "train.minibatches=8")),
    ("dpo", ("algo.every=4", "algo.sampling=iterative", "algo.label_smoothing=0.49")),
    ("a2c", ("train.epochs=1", "train.minibatches=1")),
    ("reinforce", ("train.epochs=4", "algo.ratio_cap=2")),
    ("sapo", ("algo.tau_pos=10", "algo.tau_neg=10")),
    ("untrained", ("algo.kl=0", "train.weight_decay=0", "train.measure_kl=true", "train.lr=1e-3")),
]


def resolved(algorithm: str, settings: tuple[str, ...]) -> Any:
    return resolve(Request(algorithm=algorithm, task="last_digit", tier="tiny", settings=settings))


@pytest.mark.parametrize(("algorithm", "settings", "says"), REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_what_would_have_no_effect_is_refused(algorithm: str, settings: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        resolved(algorithm, settings)


@pytest.mark.parametrize(("algorithm", "settings"), TAKEN)
def test_what_has_an_effect_is_taken(algorithm: str, settings: tuple[str, ...]) -> None:
    assert resolved(algorithm, settings).algorithm.name == algorithm


VARIANTS = [load("algorithms", name)() for name in names("algorithms") if issubclass(load("algorithms", name), PolicyGradient)]
VARIANTS += [SAPO(gate="tanh"), DAPO(dynamic_sampling=False), DAPO(overlong_soft=False), Reinforce(baseline="whiten")]
OTHERWISE: dict[str, Any] = {"on_exhausted": "error", "surplus": "carry"}


@pytest.mark.parametrize("rule", VARIANTS, ids=lambda rule: type(rule).__name__)
def test_what_a_rule_calls_idle_is(rule: PolicyGradient) -> None:
    """Another value changes neither loss nor slope, nor which groups are kept and how often they are sampled."""
    of = batch("idle")
    now, wanted = forward(of, "idle"), step(rule, forward(of, "idle"), of)
    assert rule.idle()
    for name in rule.idle():
        other = replace(rule, **{name: OTHERWISE[name] if name in OTHERWISE else type(getattr(rule, name))(0.5 * getattr(rule, name))})
        found = step(other, now, of)
        assert torch.equal(found[0], wanted[0]) and all(torch.equal(found[1][k], wanted[1][k]) for k in wanted[1]), name
        assert torch.equal(other.keep(of), rule.keep(of)) and other.rounds == rule.rounds


def test_pairs_sampled_online_are_never_renewed() -> None:
    assert set(DPO().idle()) == {"every"} and not DPO(sampling="iterative").idle()


def test_the_benchmarks_ask_for_nothing_without_effect() -> None:
    known = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "rules.py"))
    for rule in (*known["RULES"], *known["CONTROLS"]):
        resolved(rule, tuple(known["REUSED"].get(rule, known["REUSE"])))
