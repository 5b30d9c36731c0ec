"""The shared formulas, each against numbers worked by hand or an exact enumeration."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from algorithms import ops

NAN, INF = math.nan, math.inf


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def same(found: Tensor, wanted: Tensor | list[float], tolerance: float = 1e-14) -> None:
    wanted = wanted if isinstance(wanted, Tensor) else torch.tensor(wanted, dtype=found.dtype)
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


MASK = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])


def test_masked_lets_nothing_through() -> None:
    x = numbers(1, NAN, -INF).requires_grad_()
    kept = ops.masked(x, torch.tensor([True, False, False]))
    same(kept.detach(), [1.0, 0, 0])
    (slope,) = torch.autograd.grad((kept * kept).sum(), x)
    same(slope, [2.0, 0, 0])


def test_log_ratio_is_held_within_twenty() -> None:
    logp = numbers(-1, 99, -99).requires_grad_()
    ratio = ops.log_ratio(logp, numbers(-2, 0, 0), torch.ones(3).bool())
    same(ratio.detach(), [1.0, 20, -20])
    (slope,) = torch.autograd.grad(ratio.sum(), logp)
    same(slope, [1.0, 0, 0])


def test_sequence_log_ratio_is_the_mean_over_valid_actions() -> None:
    logp = torch.tensor([[1.0, 3, NAN], [-2, NAN, NAN], [NAN, NAN, NAN]], dtype=torch.float64)
    same(ops.sequence_log_ratio(logp, torch.zeros_like(logp), MASK).squeeze(-1), [2.0, -2, 0])
    high = ops.sequence_log_ratio(torch.full((1, 2), 50.0), torch.zeros(1, 2), torch.ones(1, 2).bool())
    assert high.item() == ops.SEQUENCE_LOG_RATIO_LIMIT


def test_averages_by_hand() -> None:
    """Lengths 2, 1 and 0: three actions, two paths that have any."""
    same(ops.token_mean(MASK, torch.float64), torch.where(MASK, 1 / 3, 0.0).double(), 1e-7)
    same(ops.token_mean(MASK, torch.float64)[0, 0], torch.tensor(1 / 3, dtype=torch.float64))
    same(ops.sequence_mean(MASK, torch.float64), torch.tensor([[0.25, 0.25, 0], [0.5, 0, 0], [0, 0, 0]], dtype=torch.float64))
    grouped = ops.group_token_mean(MASK, torch.tensor([4, 4, 1]), torch.float64)  # one group of three actions, one of none
    same(grouped, ops.token_mean(MASK, torch.float64))
    apart = ops.group_token_mean(MASK, torch.tensor([4, 2, 1]), torch.float64)
    same(apart, torch.tensor([[0.25, 0.25, 0], [0.5, 0, 0], [0, 0, 0]], dtype=torch.float64))


@pytest.mark.parametrize("average", [ops.token_mean, ops.sequence_mean])
def test_averages_of_nothing_are_zero(average: object) -> None:
    assert callable(average)
    same(average(torch.zeros(2, 2).bool(), torch.float64), torch.zeros(2, 2, dtype=torch.float64))


def test_group_moments_by_hand() -> None:
    """Groups (1, 2, 6), (5), (NaN, 3, 4), interleaved: means 3, 5, 3.5; Bessel deviations sqrt(7), 0, sqrt(1/2)."""
    count, mean, deviation = ops.group_moments(numbers(1, 5, NAN, 2, 3, 6, 4), torch.tensor([8, 2, 0, 8, 0, 8, 0]))
    assert count.tolist() == [3, 1, 2, 3, 2, 3, 2]
    same(mean, [3.0, 5, 3.5, 3, 3.5, 3, 3.5])
    seven, half = math.sqrt(7), math.sqrt(0.5)
    same(deviation, [seven, 0, half, seven, half, seven, half])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("value", "size"), [(0.1, 3), (0.7, 7), (1e-30, 5), (-1e6, 4), (0.0, 2)])
def test_groups_without_spread_are_exactly_zero(value: float, size: int, dtype: torch.dtype) -> None:
    x, group = torch.full((size,), value, dtype=dtype), torch.zeros(size)
    assert (ops.group_moments(x, group)[2] == 0).all()
    assert (ops.group_normalised(x, group, 1e-6) == 0).all()


def test_small_but_real_spread_counts() -> None:
    found = ops.group_normalised(numbers(0.5, 0.5 + 1e-6), torch.zeros(2), 0.0)
    same(found, [-1 / math.sqrt(2), 1 / math.sqrt(2)], 1e-9)


def test_group_normalised_leaves_out_what_could_not_be_scored() -> None:
    found = ops.group_normalised(numbers(0, NAN, 1, 4), torch.tensor([0, 0, 0, 1]), 0.0)
    same(found, [-1 / math.sqrt(2), 0, 1 / math.sqrt(2), 0])


def test_leave_one_out_is_the_centred_value_scaled() -> None:
    """RLOO: R - mean of the others = G / (G - 1) times (R - mean), and it sums to 0 in each group."""
    x, group = torch.randn(12, dtype=torch.float64), torch.arange(12) // 4
    found = x - ops.leave_one_out(x, group)
    same(found, 4 / 3 * (x - ops.group_moments(x, group)[1]))
    same(found.reshape(3, 4).sum(-1), [0.0] * 3)
    same(ops.leave_one_out(numbers(3, 1, 2), torch.tensor([0, 1, 1])), [3.0, 2, 1])


def test_returns_by_hand() -> None:
    """Rewards 1, -, 2, 4 with the second action masked: with gamma 1/2, from the end 4, 2 + 2, 1 + 2."""
    reward, mask = numbers(1, NAN, 2, 4).unsqueeze(0), torch.tensor([[True, False, True, True]])
    same(ops.reward_to_go(reward, mask, 0.5), torch.tensor([[3.0, 0, 4, 4]], dtype=torch.float64))
    same(ops.reward_to_go(reward, mask), torch.tensor([[7.0, 0, 6, 4]], dtype=torch.float64))
    same(ops.path_return(reward, mask), [7.0])


def test_moving_average_by_hand() -> None:
    """1, then 0.9 + 0.1 * 2 = 1.1, then 0.99 + 0.1 * 3 = 1.29."""
    same(ops.moving_average(numbers(1, 2, 3), 0.9), numbers(1.29)[0])
    assert ops.moving_average(numbers(), 0.9) == 0


def test_whitened_by_hand() -> None:
    x = numbers(1, 3, NAN, 5).unsqueeze(0)
    valid = torch.tensor([[True, True, False, True]])
    same(ops.whitened(x, valid), torch.tensor([[-1.0, 0, 0, 1]], dtype=torch.float64), 1e-8)
    same(ops.whitened(x, torch.ones(1, 4).bool()), torch.tensor([[-1.0, 0, 0, 1]], dtype=torch.float64), 1e-8)
    lone = torch.tensor([[True, False, False, False]])
    same(ops.whitened(x, lone), torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64))


def test_overlong_penalty_by_hand() -> None:
    """Limit 100, soft zone of the last 20."""
    length = numbers(0, 80, 85, 90, 95, 100, 120)
    same(ops.overlong_penalty(length, 100, 20), [0.0, 0, -0.25, -0.5, -0.75, -1, -1])


@given(st.integers(1, 500), st.floats(0.01, 1))
def test_overlong_penalty_never_rises(limit: int, share: float) -> None:
    found = ops.overlong_penalty(torch.arange(limit + 1, dtype=torch.float64), limit, share * limit)
    assert (found.diff() <= 0).all() and found[0] == 0 and found[-1] == pytest.approx(-1)


def test_the_pull_adapts_by_a_fifth_at_most_and_stays_a_pull() -> None:
    """Far above the target, near it, far below; a tenth of the horizon, all of it, and more, which is no more than all of it."""
    asked = [(found, samples) for samples in (100, 1000, 9000) for found in (7.0, 0.055, 0.0)]
    found = [ops.adapted_kl(0.5, found, 0.05, samples, 1000) for found, samples in asked]
    assert found == pytest.approx([0.51, 0.505, 0.49, 0.6, 0.55, 0.4, 0.6, 0.55, 0.4])


def test_clip_by_hand() -> None:
    """Ratios below, inside and above a band of 0.2, for A = 2 and A = -2."""
    ratio = numbers(0.5, 0.9, 1.1, 1.5)
    same(ops.clipped(ratio, numbers(2), 0.2, 0.2), [1.0, 1.8, 2.2, 2.4])
    same(ops.clipped(ratio, numbers(-2), 0.2, 0.2), [-1.6, -1.8, -2.2, -3.0])
    same(ops.clipped(ratio, numbers(-2), 0.2, 0.2, dual=1.2), [-1.6, -1.8, -2.2, -2.4])


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-2, 2)), min_size=1, max_size=20), st.floats(0.01, 0.9), st.floats(0.01, 0.9))
def test_clip_flags_are_where_the_slope_vanishes(points: list[tuple[float, float]], low: float, high: float) -> None:
    """Central differences of the clipped objective along the log-ratio, away from the corners of the clip."""
    shift = torch.tensor([x for x, _ in points], dtype=torch.float64)
    advantage = torch.tensor([a for _, a in points], dtype=torch.float64)
    ratio, step = shift.exp(), 1e-6
    clear = ((ratio - 1 + low).abs() > 1e-5) & ((ratio - 1 - high).abs() > 1e-5) & (advantage.abs() > 1e-3)
    ahead, behind = (ops.clipped((shift + s).exp(), advantage, low, high) for s in (step, -step))
    flat = (ahead - behind).abs() / (2 * step) < 1e-6
    at_low, at_high = ops.clip_flags(ratio, advantage, low, high)
    assert torch.equal((at_low | at_high)[clear], flat[clear])
    assert not (at_low & (advantage > 0)).any() and not (at_high & (advantage < 0)).any()
    assert not (at_low & (ratio > 1)).any() and not (at_high & (ratio < 1)).any()


# KL estimators, by enumeration of a categorical of five


LOGITS = numbers(0.3, -1.2, 0.8, 0.0, -0.4)
OTHER = numbers(-0.5, 0.4, 0.1, 1.0, -0.2)
OLD = numbers(0.1, -0.9, 1.1, 0.3, -0.6)
ALL = torch.ones(5).bool()


def slope(estimator: str, sampler: Tensor) -> tuple[Tensor, Tensor]:
    """Expected value of an in-loss estimator when `sampler`'s logits draw the actions, and its gradient along the policy's logits."""
    logits = LOGITS.clone().requires_grad_()
    values = ops.kl_in_loss(estimator, logits.log_softmax(-1), sampler.log_softmax(-1), OTHER.log_softmax(-1), ALL)
    value = (sampler.softmax(-1) * values).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def divergence(forward: bool) -> tuple[Tensor, Tensor]:
    """KL(ref || policy) if forward, else KL(policy || ref), and its gradient along the policy's logits."""
    logits = LOGITS.clone().requires_grad_()
    own, ref = logits.log_softmax(-1), OTHER.log_softmax(-1)
    value = (ref.exp() * (ref - own)).sum() if forward else (own.exp() * (own - ref)).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


@pytest.mark.parametrize(
    ("estimator", "sampler", "forward"),
    [("k2", LOGITS, False), ("k3", LOGITS, True), ("k3+", LOGITS, False), ("ratio_k3", LOGITS, False), ("ratio_k3", OLD, False)],
)
def test_in_loss_estimators_have_the_stated_gradient(estimator: str, sampler: Tensor, forward: bool) -> None:
    same(slope(estimator, sampler)[1], divergence(forward)[1])


@pytest.mark.parametrize("estimator", ["k3", "k3+", "ratio_k3"])
def test_unbiased_estimators_have_the_reverse_divergence_as_value(estimator: str) -> None:
    same(slope(estimator, LOGITS)[0], divergence(forward=False)[0])


def test_k2_is_biased() -> None:
    assert (slope("k2", LOGITS)[0] - divergence(forward=False)[0]).abs() > 1e-3


def test_k1_has_the_right_value_and_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    value = (LOGITS.softmax(-1) * ops.kl_value("k1", logits.log_softmax(-1), OTHER.log_softmax(-1), ALL)).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    same(value.detach(), divergence(forward=False)[0])
    same(gradient, [0.0] * 5)


def test_k1_is_refused_in_the_loss_and_unknown_names_everywhere() -> None:
    zeros = torch.zeros(1)
    with pytest.raises(ValueError, match="put it in the reward"):
        ops.kl_in_loss("k1", zeros, zeros, zeros, zeros.bool())
    for name in ("k4", "ratio_k2"):
        with pytest.raises(ValueError, match=f"no KL estimator called '{name}'; known: k1, k2, k3"):
            ops.kl_in_loss(name, zeros, zeros, zeros, zeros.bool())


def test_k3_stays_finite() -> None:
    logp = numbers(-100, 100).requires_grad_()
    value = ops.kl_value("k3", logp, numbers(0, 0), torch.ones(2).bool())
    (gradient,) = torch.autograd.grad(value.sum(), logp)
    assert value.isfinite().all() and (gradient == 0).all()
