"""Identities between rules, and one batch per rule worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, PolicyGradient
from algorithms.dapo import DAPO
from algorithms.grpo import GRPO
from algorithms.gspo import GSPO
from algorithms.reinforce import Reinforce
from algorithms.sapo import SAPO
from bench.checks.batches import ACTIONS, PATHS, batch, close, forward, gradients, loss, step

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


EVEN = torch.full((PATHS,), 5)
GROUP_RULES = [GRPO(), DAPO(overlong_soft=False), GSPO(), GSPO(per_token=True), SAPO(), SAPO(gate="tanh"), SAPO(tau_pos=9.0)]


@pytest.mark.parametrize("rule", GROUP_RULES, ids=repr)
def test_on_policy_all_group_rules_take_the_same_step(rule: PolicyGradient) -> None:
    """With paths of one length, so that averages agree; REINFORCE with the same advantages takes it too."""
    of = batch("same", lengths=EVEN)
    credit, now = rule.credit(of), Forward(of.old_logp.clone().requires_grad_())
    found = gradients(loss(rule, now, of, credit), now)["logp"]
    wanted = gradients(loss(Reinforce(), now, of, GRPO().credit(of)), now)["logp"]
    close(found, wanted, "gradient")


def test_off_policy_they_do_not() -> None:
    """Or nothing would be compared."""
    of = batch("differ", lengths=EVEN)
    now = forward(of, "differ", 0.5)
    found = [step(rule, now, of)[1]["logp"] for rule in (GRPO(), DAPO(overlong_soft=False), GSPO(), SAPO(), Reinforce())]
    for i, one in enumerate(found):
        assert all((one - other).abs().max() > 1e-3 for other in found[:i])


def same_step(one: PolicyGradient, other: PolicyGradient, of: Batch, now: Forward, tolerance: float = 1e-12) -> None:
    (value, slopes), (wanted, wanted_slopes) = step(one, now, of), step(other, now, of)
    close(value, wanted, "loss", tolerance)
    close(slopes["logp"], wanted_slopes["logp"], "gradient", tolerance)


def test_dapo_is_grpo_on_paths_of_one_length() -> None:
    of = batch("length", lengths=EVEN)
    for high in (DAPO(clip_high=0.2, overlong_soft=False), DAPO(clip_high=0.2, overlong_soft=False, group_average=True)):
        same_step(high, GRPO(), of, forward(of, "length", 0.5))


def test_dividing_by_the_limit_is_the_mean_times_the_filled_share() -> None:
    """Weights 1 / (N L) are n / L times 1 / (N n): the averaging of Dr.GRPO against GRPO's."""
    of = batch("limit", lengths=EVEN)
    wanted = 5 / ACTIONS * ops.sequence_mean(of.mask, torch.float64)
    close(Reinforce(normaliser="limit").credit(of).weight, wanted, "weight", 1e-15)


def test_gspo_is_grpo_on_single_actions() -> None:
    of = batch("single", lengths=torch.ones(PATHS, dtype=torch.long))
    same_step(GSPO(clip_low=0.2, clip_high=0.2), GRPO(), of, forward(of, "single", 0.5))


def test_gspo_per_token_is_gspo_for_outcome_rewards() -> None:
    of = batch("token")
    same_step(GSPO(clip_low=0.1, clip_high=0.1, per_token=True), GSPO(clip_low=0.1, clip_high=0.1), of, forward(of, "token", 0.5))


def test_gspo_per_token_uses_advantages_of_single_actions() -> None:
    """One action has an advantage: per token only its own log-probability moves, without it the whole path's does."""
    of = batch("own", lengths=EVEN)
    advantage = torch.zeros_like(of.old_logp)
    advantage[0, 2] = 1.0
    credit = Credit(advantage, ops.sequence_mean(of.mask, torch.float64))
    now = Forward(of.old_logp.clone().requires_grad_())
    moved = {b: gradients(loss(GSPO(per_token=b), now, of, credit), now)["logp"][0] != 0 for b in (True, False)}
    assert moved[True].tolist() == [False, False, True, False, False, False, False, False]
    assert moved[False].tolist() == [True] * 5 + [False] * 3


def slope_in_ratio(of: Tensor, tau: float) -> Tensor:
    ratio = of.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ops.sigmoid_gate(ratio, torch.tensor(tau, dtype=torch.float64)).sum(), ratio)
    return slope


@pytest.mark.parametrize("tau", [0.1, 1.0, 10.0])
def test_soft_gate_is_open_at_one_and_symmetric(tau: float) -> None:
    assert slope_in_ratio(torch.ones(1, dtype=torch.float64), tau).item() == pytest.approx(1, abs=1e-15)
    away = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
    close(slope_in_ratio(1 + away, tau), slope_in_ratio(1 - away, tau), "gate", 1e-14)


def test_soft_gate_has_the_known_numbers() -> None:
    ratios = torch.tensor([0.5, 0.8, 1.2, 1.5, 2, 3, 5], dtype=torch.float64)
    assert slope_in_ratio(ratios, 1.0).tolist() == pytest.approx([0.940, 0.990, 0.990, 0.940, 0.786, 0.420, 0.071], abs=5e-4)
    for tau, top, at in ((1.0, 1.5747, 2.0601), (1.05, 1.5363, 1.9917)):
        grid = torch.linspace(1, 4, 300_001, dtype=torch.float64)
        pushed = grid * slope_in_ratio(grid, tau)
        assert pushed.max().item() == pytest.approx(top, abs=5e-5)
        assert grid[pushed.argmax()].item() == pytest.approx(at, abs=1e-4)


def test_sapo_without_sharpness_is_the_unclipped_ratio() -> None:
    of = batch("blunt")
    same_gradient(SAPO(tau_pos=1e-4, tau_neg=1e-4), GRPO(clip=1e9), of, 1e-7)


def same_gradient(one: PolicyGradient, other: PolicyGradient, of: Batch, tolerance: float) -> None:
    now = forward(of, "gradient", 0.5)
    close(step(one, now, of)[1]["logp"], step(other, now, of)[1]["logp"], "gradient", tolerance)


def test_sharp_pessimistic_tanh_gate_is_the_clip() -> None:
    of = batch("sharp")
    same_step(SAPO(gate="tanh_pessimistic", eta=1e6), GRPO(), of, forward(of, "sharp", 0.5))


def test_sharp_tanh_gate_is_the_optimistic_bound() -> None:
    """max(r A, clip(r) A): it pushes on beyond the band and blocks the way back."""
    of = batch("sharp")
    now, credit = forward(of, "sharp", 0.5), GRPO().credit(of)
    ratio = ops.log_ratio(now.logp, of.old_logp, of.mask).exp()
    wanted = torch.maximum(ratio * credit.advantage, ratio.clamp(0.8, 1.2) * credit.advantage)
    close(SAPO(gate="tanh", eta=1e6).surrogate(now, of, credit).detach(), wanted.detach(), "surrogate")


@pytest.mark.parametrize("gate", ["tanh", "tanh_pessimistic"])
def test_indifferent_tanh_gate_halves_the_slope_outside_the_band(gate: str) -> None:
    of = batch("half")
    now, credit = forward(of, "half", 0.5), GRPO().credit(of)
    rule = SAPO(gate=gate, eta=0.0)  # type: ignore[arg-type]
    ratio = ops.log_ratio(now.logp, of.old_logp, of.mask).exp().detach()
    found = gradients(rule.surrogate(now, of, credit).sum(), now)["logp"]
    close(found, torch.where((ratio - 1).abs() > 0.2, 0.5, 1.0) * ratio * credit.advantage, "slope")


def test_group_advantages_sum_to_zero() -> None:
    of = batch("sum")
    advantage = GRPO().credit(of).advantage[:, 0]
    for g in of.group.unique():
        assert advantage[of.group == g].sum().abs() < 1e-12


def test_dapo_drops_groups_by_verdict_not_by_length() -> None:
    """All-wrong and all-right groups go, though the overlong penalty tells their members apart; a mixed one stays."""
    lengths = torch.tensor([8, 8, 1, 2] * 3)
    verdict = torch.tensor([0.0] * 4 + [1.0] * 4 + [0, 1, 1, 0], dtype=torch.float64)
    of = replace(batch("keep", lengths=lengths), correct=verdict)
    assert DAPO().keep(of).tolist() == [False] * 8 + [True] * 4
    assert (DAPO().credit(of).advantage[:4, 0] != 0).all()
    assert DAPO(dynamic_sampling=False).keep(of).all()


def test_dapo_judges_by_reward_where_there_is_no_verdict() -> None:
    of = batch("keep")
    equal = replace(of, correct=None, reward=torch.where(of.group.unsqueeze(-1) == 7, 0.0, of.reward))
    assert DAPO().keep(equal).tolist() == [False] * 4 + [True] * 8


def test_dapo_filters_truncated_paths_after_the_group_statistics() -> None:
    of = batch("filter")
    assert of.truncated is not None and of.truncated.any()
    plain, filtered = DAPO().credit(of), DAPO(overlong_filter=True).credit(of)
    assert torch.equal(plain.advantage, filtered.advantage)
    assert (filtered.weight[of.truncated] == 0).all() and (plain.weight[of.truncated][of.mask[of.truncated]] > 0).all()


def test_in_reward_pull_moves_the_returns() -> None:
    of = batch("pull")
    assert of.ref_logp is not None
    spent = ops.path_return(of.old_logp - of.ref_logp, of.mask)
    lower = replace(of, reward=of.reward - 0.3 * ops.masked(of.old_logp - of.ref_logp, of.mask))
    pulled = GRPO(kl=0.3, kl_estimator="k1")
    close(pulled.credit(of).advantage, GRPO().credit(lower).advantage, "advantage")
    close(ops.path_return(pulled.shaped(of), of.mask), ops.path_return(of.reward, of.mask) - 0.3 * spent, "return")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kl_estimator": "k4"}, "kl_estimator is 'k4'; choose one of k1, k2, k3"),
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
