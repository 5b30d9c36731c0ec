"""One batch per rule worked by hand, and what the settings refuse."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from algorithms.base import Batch, Forward, PolicyGradient
from algorithms.dapo import DAPO
from algorithms.grpo import GRPO
from algorithms.gspo import GSPO
from algorithms.reinforce import Reinforce
from algorithms.sapo import SAPO
from bench.checks.batches import batch, step

ROOT = math.sqrt(2)


def worked(rule: PolicyGradient) -> tuple[float, list[list[float]]]:
    """Loss and slopes on two paths of one group, by 3 and 2 actions, rewards 1 and 0, ratios (1, 3/2, 1/2) and (1/2, 2), old
    probabilities 1/2. Mean reward 1/2 and Bessel deviation 1/sqrt(2) make the group's advantages +1/sqrt(2) and -1/sqrt(2)."""
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    old = torch.full((2, 3), 0.5, dtype=torch.float64).log()
    reward = torch.tensor([[0.0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    of = Batch(group=torch.zeros(2), reward=reward, mask=mask, old_logp=old)
    ratio = torch.tensor([[1, 1.5, 0.5], [0.5, 2, 1]], dtype=torch.float64)
    value, slopes = step(rule, Forward(old + ratio.log()), of)
    return value.item(), slopes["logp"].tolist()


def test_grpo_by_hand() -> None:
    """Clip 0.2. Path 1: values 1, 6/5, 1/2, mean 9/10. Path 2: 4/5, 2, mean 7/5, counted against. J = (9/10 - 7/5) / 2 / sqrt(2).
    Slopes of J: r A / (2 n) where open: path 1 has 1, shut, 1/2 over 6; path 2 has shut, -2 over 4."""
    value, slopes = worked(GRPO(std_eps=0.0))
    assert value == pytest.approx(0.25 / ROOT, abs=1e-15)
    assert slopes[0] == pytest.approx([-1 / 6 / ROOT, 0, -0.5 / 6 / ROOT], abs=1e-15)
    assert slopes[1] == pytest.approx([0, 0.5 / ROOT, 0], abs=1e-15)


def test_grpo_with_dual_clip_by_hand() -> None:
    """As above with path 2's second action held at 3/2: mean 23/20, J = (9/10 - 23/20) / 2 / sqrt(2), and no slope there."""
    value, slopes = worked(GRPO(std_eps=0.0, dual_clip=1.5))
    assert value == pytest.approx(0.125 / ROOT, abs=1e-15)
    assert slopes[1] == [0, 0, 0]


def test_dapo_by_hand() -> None:
    """Clips 0.2 and 0.28, each of five actions weighs 1/5. Values 1 + 1.28 + 0.5 - 0.8 - 2 = -0.02, over 5 sqrt(2)."""
    value, slopes = worked(DAPO(std_eps=0.0))
    assert value == pytest.approx(0.004 / ROOT, abs=1e-15)
    assert slopes[0] == pytest.approx([-1 / 5 / ROOT, 0, -0.5 / 5 / ROOT], abs=1e-15)
    assert slopes[1] == pytest.approx([0, 2 / 5 / ROOT, 0], abs=1e-15)


@pytest.mark.parametrize("per_token", [False, True])
def test_gspo_by_hand(per_token: bool) -> None:
    """Ratios multiply to 3/4 and 1, so s = (3/4)^(1/3) and 1: both open (A > 0 is shut above the band only).
    J = (s - 1) / 2 / sqrt(2); slopes s A / (2 n)."""
    s = 0.75 ** (1 / 3)
    value, slopes = worked(GSPO(std_eps=0.0, per_token=per_token))
    assert value == pytest.approx((1 - s) / 2 / ROOT, abs=1e-15)
    assert slopes[0] == pytest.approx([-s / 6 / ROOT] * 3, abs=1e-15)
    assert slopes[1] == pytest.approx([1 / 4 / ROOT] * 2 + [0], abs=1e-15)


def test_sapo_by_hand() -> None:
    """With tau = 2 ln 3 the sigmoids at 1, 3/2, 1/2, 2 are 1/2, 3/4, 1/4, 9/10. Means of 4/tau times them: 2/tau and 2.3/tau, so
    J = -0.3 / tau / 2 / sqrt(2). Gates 4 p (1 - p): 1, 3/4, 3/4, 0.36; times the ratio: 1, 9/8, 3/8 and 3/8, 0.72."""
    tau = 2 * math.log(3)
    value, slopes = worked(SAPO(std_eps=0.0, tau_pos=tau, tau_neg=tau))
    assert value == pytest.approx(0.15 / tau / ROOT, abs=1e-15)
    assert slopes[0] == pytest.approx([-1 / 6 / ROOT, -1.125 / 6 / ROOT, -0.375 / 6 / ROOT], abs=1e-15)
    assert slopes[1] == pytest.approx([0.375 / 4 / ROOT, 0.72 / 4 / ROOT, 0], abs=1e-15)


def test_reinforce_by_hand() -> None:
    """Each path's baseline is the other's return: advantages 1 and -1, each action weighs 1/5.
    J = (3 ln(1/2) + ln(3/4) - 2 ln(1/2) - ln 1) / 5 = ln(3/8) / 5."""
    value, slopes = worked(Reinforce())
    assert value == pytest.approx(-math.log(3 / 8) / 5, abs=1e-15)
    assert slopes == [[-1 / 5] * 3, [1 / 5, 1 / 5, 0]]


def test_pull_to_the_reference_by_hand() -> None:
    """One action with d = ln 2: k2 = ln(2)^2 / 2, k3 = 1/2 - 1 + ln 2; slopes ln 2 and 1/2. A lone path has no advantage."""
    of = Batch(group=torch.zeros(1), reward=torch.zeros(1, 1), mask=torch.ones(1, 1), old_logp=torch.zeros(1, 1, dtype=torch.float64))
    of = replace(of, ref_logp=of.old_logp - math.log(2))
    for name, value, slope in (("k2", math.log(2) ** 2 / 2, math.log(2)), ("k3", math.log(2) - 0.5, 0.5)):
        found, slopes = step(GRPO(kl=0.1, kl_estimator=name), Forward(of.old_logp), of)  # type: ignore[arg-type]
        assert found.item() == pytest.approx(0.1 * value, abs=1e-15)
        assert slopes["logp"].item() == pytest.approx(0.1 * slope, abs=1e-15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kl_estimator": "k4"}, "kl_estimator is 'k4'; choose one of 'k1', 'k2', 'k3'"),
        ({"kl": -0.1}, "kl is -0.1; it must be 0 or more"),
        ({"kl": math.nan}, "kl is nan"),
        ({"entropy_bonus": -1.0}, "entropy_bonus is -1.0; it must be 0 or more"),
    ],
)
def test_senseless_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GRPO(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.0, -0.2, 1.5, math.nan])
def test_a_soft_zone_needs_a_length(share: float) -> None:
    with pytest.raises(ValueError, match="overlong_cache is"):
        DAPO(overlong_cache=share)


def test_missing_tensors_are_named() -> None:
    of = replace(batch("missing"), ref_logp=None)
    now, credit = Forward(of.old_logp), GRPO().credit(of)
    with pytest.raises(ValueError, match=r"needs Batch\.ref_logp"):
        GRPO(kl=0.1).objective(now, of, credit)
    with pytest.raises(ValueError, match=r"needs Batch\.ref_logp"):
        GRPO(kl=0.1, kl_estimator="k1").credit(of)
    with pytest.raises(ValueError, match=r"needs Forward\.entropy"):
        GRPO(entropy_bonus=0.1).objective(now, of, credit)


def test_facts_of_rules() -> None:
    assert GRPO(kl=0.1).reference and not GRPO().reference
    assert Reinforce().updates_once and not Reinforce(ratio_cap=2.0).updates_once and not GRPO().updates_once
    assert DAPO().rounds == 10 and DAPO(dynamic_sampling=False).rounds == 1 and GRPO().rounds == 1
