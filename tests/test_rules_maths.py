"""Identities between rules, and the limits in which one becomes another."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, PolicyGradient
from algorithms.cispo import CISPO
from algorithms.dapo import DAPO
from algorithms.dr_grpo import DrGRPO
from algorithms.gmpo import GMPO
from algorithms.grpo import GRPO
from algorithms.gspo import GSPO
from algorithms.ppo import PPO
from algorithms.reinforce import Reinforce
from algorithms.reinforce_plus_plus import ReinforcePlusPlus
from algorithms.rloo import RLOO
from algorithms.sapo import SAPO
from algorithms.vespo import VESPO
from bench.checks.batches import ACTIONS, PATHS, batch, close, forward, gradients, loss, step

EVEN = torch.full((PATHS,), 5)
GROUP_RULES = [
    *(GRPO(), DAPO(overlong_soft=False), GSPO(), GSPO(per_token=True), SAPO(), SAPO(gate="tanh"), SAPO(tau_pos=9.0)),
    *(CISPO(), GMPO(), VESPO()),
]


@pytest.mark.parametrize("rule", GROUP_RULES, ids=repr)
def test_on_policy_all_group_rules_take_the_same_step(rule: PolicyGradient) -> None:
    """With paths of one length, so that averages agree; REINFORCE with the same advantages takes it too."""
    of = batch("same", lengths=EVEN)
    credit, now = rule.credit(of), Forward(of.old_logp.clone().requires_grad_())
    found = gradients(loss(rule, now, of, credit), now)["logp"]
    wanted = gradients(loss(Reinforce(), now, of, GRPO().credit(of)), now)["logp"]
    close(found, wanted, "gradient")


DIFFERENT = [GRPO(), DAPO(overlong_soft=False), GSPO(), SAPO(), CISPO(ratio_cap=1.2), GMPO(), VESPO(), Reinforce(), DrGRPO(), RLOO()]


def test_off_policy_they_do_not() -> None:
    """Or nothing would be compared."""
    of = batch("differ", lengths=EVEN)
    now = forward(of, "differ", 0.5)
    found = [step(rule, now, of)[1]["logp"] for rule in DIFFERENT]
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


def test_dr_grpo_divides_by_the_limit_where_grpo_divides_by_the_length() -> None:
    of = batch("limit", lengths=EVEN)
    credit = GRPO(std_eps=0.0).credit(of)
    deviation = ops.group_moments(ops.path_return(of.reward, of.mask), of.group)[2].unsqueeze(-1)
    wanted = credit.weight * credit.advantage * deviation * 5 / ACTIONS
    found = DrGRPO().credit(of)
    close(found.weight * found.advantage, wanted, "weighted advantage")


def test_rloo_is_the_centred_return_without_its_own_share() -> None:
    """G / (G - 1) times what Dr. GRPO takes; on policy, the step of REINFORCE with that baseline and a plain sum over actions."""
    of = batch("leave one out")
    of = of.repaid(ops.path_return(of.reward, of.mask))  # the answer pays, so that every action's return is the path's
    size = (of.group.unsqueeze(-1) == of.group).sum(-1, keepdim=True)
    close(RLOO().credit(of).advantage, DrGRPO().credit(of).advantage * size / (size - 1).clamp_min(1), "advantage")
    slopes = [step(rule, Forward(of.old_logp), of)[1]["logp"] for rule in (RLOO(), Reinforce(baseline="group_loo", normaliser="paths"))]
    close(*slopes, "gradient")


def test_reinforce_plus_plus_is_ppo_without_a_critic() -> None:
    """PPO's clip on values of 0 and lambda = 1 sees the same whitened returns."""
    of = replace(batch("plus"), old_value=torch.zeros_like(batch("plus").reward), bootstrap=None, end=None)
    same_step(ReinforcePlusPlus(), PPO(lam=1.0, value_coef=0.0), of, forward(of, "plus", 0.5))


def test_the_rules_of_whole_completions_are_grpo_on_single_actions() -> None:
    of = batch("single", lengths=torch.ones(PATHS, dtype=torch.long))
    now = forward(of, "single", 0.5)
    same_step(GMPO(clip_low=math.log(1 / 0.8), clip_high=math.log(1.2)), GRPO(), of, now)
    credit = RLOO().credit(of)
    close(loss(RLOO(), now, of, credit), loss(GRPO(), now, of, credit), "loss")


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
