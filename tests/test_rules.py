"""Every rule in the registry keeps every contract, with its defaults and with each of its settings turned."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import torch

from algorithms.a2c import A2C
from algorithms.base import Forward, PolicyGradient, Rule
from algorithms.cispo import CISPO
from algorithms.cql import CQL
from algorithms.dapo import DAPO
from algorithms.dpo import DPO
from algorithms.dqn import DQN
from algorithms.dr_grpo import DrGRPO
from algorithms.gmpo import GMPO
from algorithms.grpo import GRPO
from algorithms.gspo import GSPO
from algorithms.ppo import PPO
from algorithms.random_reward import RandomReward
from algorithms.reinforce import Reinforce
from algorithms.reinforce_plus_plus import ReinforcePlusPlus
from algorithms.rloo import RLOO
from algorithms.sac import SAC
from algorithms.sapo import SAPO
from algorithms.vespo import VESPO
from bench import checks
from bench.checks import chains, learning
from bench.checks.batches import batch, forward, loss, tensors
from bench.checks.expect import DoesNotApply
from bench.registry import load, names

POLICY_GRADIENTS = [name for name in names("algorithms") if issubclass(load("algorithms", name), PolicyGradient)]
WITHOUT_RATIO = ("cispo", "sft_on_correct", "vespo")  # take several steps per batch, and weigh log pi by something that has no slope


EVERY = [
    pytest.param(name, contract, id=f"{name}-{title}")
    for name in names("algorithms")
    for title, contract in checks.contracts("algorithms", load("algorithms", name)())
]


@pytest.mark.parametrize(("name", "contract"), EVERY)
def test_every_rule_keeps(name: str, contract: Callable[[Any], None]) -> None:
    with suppress(DoesNotApply):
        contract(load("algorithms", name)())


VARIANTS: list[Rule] = [
    GRPO(dual_clip=3.0),
    DAPO(group_average=True),
    DAPO(overlong_filter=True, overlong_cache=0.5),
    DAPO(dynamic_sampling=False, overlong_soft=False),
    GSPO(per_token=True),
    GSPO(clip_low=0.1, clip_high=0.2),
    SAPO(gate="tanh"),
    SAPO(gate="tanh_pessimistic", eta=2.0, offset=0.3),
    SAPO(tau_pos=10.0, tau_neg=0.1),
    Reinforce(baseline="none"),
    Reinforce(baseline="ema"),
    Reinforce(baseline="group_loo"),
    Reinforce(baseline="whiten"),
    Reinforce(gamma=0.9, ratio_cap=2.0),
    Reinforce(normaliser="paths"),
    A2C(lam=0.8, gamma=0.9, whiten=True, value_clip=0.2),
    PPO(dual_clip=2.0, target_kl=0.1, value_clip=None, whiten=False, lam=1.0),
    DPO(beta=1.0, label_smoothing=0.2),
    DPO(per_token=True, sft_coef=0.5, matching="all"),
    RandomReward(probability=0.2),
    RLOO(clip=0.05, kl=0.1),
    DrGRPO(clip=0.1),
    ReinforcePlusPlus(gamma=0.9, kl=0.1),
    CISPO(ratio_floor=0.9, ratio_cap=1.1),
    GMPO(clip_low=0.05, clip_high=0.1),
    VESPO(k_pos=0.0, lam_neg=0.5),
    DQN(double=True),
    DQN(dueling=True, loss="mse", epsilon_share=0.0),
    SAC(version="v1", temperature=0.2),
    SAC(temperature_loss="linear", target_entropy=0.3),
    SAC(learn_temperature=False, temperature=0.1),
    CQL(threshold=1.0, weight=2.0),
    CQL(importance=False, samples=3),
    CQL(backup="sampled", temperature=0.3),
    CQL(backup="soft", learn_temperature=False),
]


def changed(rule: Rule) -> str:
    plain = type(rule)()
    values = {k: v for k, v in vars(rule).items() if getattr(plain, k) != v}
    return f"{type(rule).__name__}({', '.join(f'{k}={v}' for k, v in values.items())})"


TURNED = [
    pytest.param(rule, contract, id=f"{changed(rule)}-{title}")
    for rule in VARIANTS
    for title, contract in checks.contracts("algorithms", rule)
    if (title, contract) not in [*learning.CONTRACTS, *chains.CONTRACTS]  # a whole run for each variant would take minutes
]


@pytest.mark.parametrize(("rule", "contract"), TURNED)
def test_every_variant_keeps(rule: Rule, contract: Callable[[Any], None]) -> None:
    with suppress(DoesNotApply):
        contract(rule)


@pytest.mark.parametrize("normaliser", ["paths", "limit"])
def test_other_normalisers_only_rescale(normaliser: str) -> None:
    of = batch("normaliser")
    plain, other = Reinforce().credit(of).weight, Reinforce(normaliser=normaliser).credit(of).weight  # type: ignore[arg-type]
    paths = of.mask.shape[0] * (1 if normaliser == "paths" else of.mask.shape[1])
    torch.testing.assert_close(other, plain * of.mask.sum() / paths, rtol=1e-14, atol=0)


@pytest.mark.parametrize("shift", [100.0, -100.0])
@pytest.mark.parametrize(
    "rule", [load("algorithms", n)() for n in POLICY_GRADIENTS if n not in WITHOUT_RATIO], ids=lambda r: type(r).__name__
)
def test_far_from_the_sampling_policy_ratios_have_no_slope(rule: PolicyGradient, shift: float) -> None:
    """Beyond a log-ratio of 20 the ratio is constant, so a rule that may take several steps per batch stops. REINFORCE, A2C have none."""
    of = batch("far")
    logp = (of.old_logp + shift).requires_grad_()
    loss(rule, Forward(logp), of, rule.credit(of)).backward()
    assert logp.grad is not None
    assert (logp.grad == 0).all() != rule.updates_once


def test_gspo_warns_of_rounded_log_probabilities() -> None:
    of = batch("rounded", torch.float32)
    now = forward(of, "rounded")
    with pytest.warns(UserWarning, match="bfloat16"):
        GSPO().objective(replace(now, logp=now.logp.bfloat16()), of, GSPO().credit(of))


def test_a_step_is_a_proper_average_of_its_rows() -> None:
    of, index = batch("rows"), torch.tensor([0, 3, 7])
    of = replace(of, correct=torch.ones_like(of.correct))
    for name in POLICY_GRADIENTS:
        whole = load("algorithms", name)().credit(of)
        part = whole.rows(index)
        if whole.per_path:
            torch.testing.assert_close(part.weight, whole.weight[index] * len(of.group) / len(index), rtol=1e-14, atol=0)
            continue
        torch.testing.assert_close(part.weight.sum(), whole.weight.sum(), rtol=1e-14, atol=0)
        torch.testing.assert_close(part.weight / part.weight.sum(), whole.weight[index] / whole.weight[index].sum(), rtol=1e-14, atol=0)


def test_rows_without_weight_stay_without() -> None:
    of = batch("rows", lengths=torch.tensor([0, 0] + [3] * 10))
    part = GRPO().credit(of).rows(torch.tensor([0, 1]))
    assert (part.weight == 0).all()


def test_rows_of_a_batch_keep_what_belongs_to_the_run() -> None:
    of = batch("rows")
    part = of.rows(torch.tensor([5, 2, 1]))
    assert part.limit == of.limit and part.history is of.history
    for name, value in tensors(part).items():
        if name != "history":
            assert torch.equal(value, getattr(of, name)[[5, 2, 1]])
    assert part.group.tolist() == [6, 7, 7]


@pytest.mark.parametrize(
    ("cls", "settings", "says"),
    [
        (SAPO, {"gate": "tahn"}, "gate is 'tahn'; choose one of 'sigmoid', 'tanh', 'tanh_pessimistic'"),
        (SAPO, {"tau_pos": 0.0}, "tau_pos is 0.0"),
        (GRPO, {"clip": -0.1}, "clip is -0.1; it must be 0 or more"),
        (GRPO, {"dual_clip": 0.5}, "dual_clip is 0.5"),
        (GRPO, {"kl": -1.0}, "kl is -1.0"),
        (GRPO, {"kl": float("nan")}, "kl is nan"),
        (PPO, {"target_kl": 0.0}, "target_kl is 0.0; it must be 1e-06 or more"),
        (DAPO, {"max_rounds": 0}, "max_rounds is 0"),
        (Reinforce, {"gamma": 1.1}, "gamma is 1.1"),
        (Reinforce, {"baseline": "mean"}, "baseline is 'mean'; choose one of 'none'"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(cls: type[PolicyGradient], settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        cls(**settings)
