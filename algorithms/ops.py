"""The formulas that rules share. Every function takes (B, T) or (B,) tensors and gives tensors; none branches on data.

A mask is bool. Values outside it are replaced before any arithmetic, so NaN or infinity in the padding reaches neither the value nor
the gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0  # |log r| beyond this gives a constant ratio, so no gradient; exp stays finite in float32
SEQUENCE_LOG_RATIO_LIMIT = 10.0


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """x inside the mask, 0 outside, with no gradient flowing to the outside."""
    return torch.where(mask, x, torch.zeros_like(x))


def per_action(x: Tensor, mask: Tensor) -> Tensor:
    """(B, T) each path's value of x, a (B,) tensor, on every one of its actions."""
    return masked(x.unsqueeze(-1).expand(mask.shape), mask)


# Ratios


def log_ratio(logp: Tensor, old_logp: Tensor, mask: Tensor) -> Tensor:
    """(B, T) log pi - log pi_old, held within +-20; 0 outside the mask."""
    return (masked(logp, mask) - masked(old_logp, mask)).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def sequence_log_ratio(logp: Tensor, old_logp: Tensor, mask: Tensor) -> Tensor:
    """(B, 1) length-normalised log-ratio of each path, the logarithm of s_i in GSPO (arXiv 2507.18071, eq. 7)."""
    mean = log_ratio(logp, old_logp, mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp_min(1)
    return mean.clamp(-LOG_RATIO_LIMIT, SEQUENCE_LOG_RATIO_LIMIT)


def path_log_ratio(logp: Tensor, old_logp: Tensor, mask: Tensor) -> Tensor:
    """(B, 1) log-ratio of each whole path, held within +-20: the sum over its actions, not their mean."""
    return log_ratio(logp, old_logp, mask).sum(-1, keepdim=True).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


# Gates


def clipped(ratio: Tensor, advantage: Tensor, low: float, high: float, dual: float | None = None) -> Tensor:
    """min(r A, clip(r, 1 - low, 1 + high) A): the pessimistic bound of PPO (arXiv 1707.06347, eq. 7).

    With `dual` (greater than 1), A < 0 is also bounded below by dual * A (dual-clip, arXiv 1912.09729, eq. 5).
    """
    value = torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
    return value if dual is None else torch.where(advantage < 0, torch.maximum(value, dual * advantage), value)


def clip_flags(ratio: Tensor, advantage: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """(B, T) bool each: where the clip of `clipped` shuts off the gradient, at the lower and at the upper bound."""
    return (advantage < 0) & (ratio < 1 - low), (advantage > 0) & (ratio > 1 + high)


def sigmoid_gate(ratio: Tensor, tau: Tensor) -> Tensor:
    """(4 / tau) sigmoid(tau (r - 1)), whose slope in r is sech^2(tau (r - 1) / 2): 1 at r = 1 for every tau (SAPO, arXiv 2511.20347)."""
    return 4 / tau * torch.sigmoid(tau * (ratio - 1))


def tanh_mixture(ratio: Tensor, advantage: Tensor, clip: float, eta: float, offset: float) -> Tensor:
    """(1 - w) min(r, c) + w max(r, c) with c = clip(r, 1 +- clip) and w = (tanh(eta (A - offset)) + 1) / 2."""
    bounded = ratio.clamp(1 - clip, 1 + clip)
    w = (torch.tanh(eta * (advantage - offset)) + 1) / 2
    return (1 - w) * torch.minimum(ratio, bounded) + w * torch.maximum(ratio, bounded)


# Divergence from a reference: d = log pi - log pi_ref


def kl_value(estimator: str, logp: Tensor, ref_logp: Tensor, mask: Tensor) -> Tensor:
    """(B, T) sampled estimate of KL(pi || pi_ref) per action: k1 = d, k2 = d^2 / 2, k3 = exp(-d) - 1 + d (Schulman 2020).

    Raises ValueError for any other name.
    """
    d = masked(logp, mask) - masked(ref_logp, mask)
    if estimator == "k1":
        return d
    if estimator == "k2":
        return d.square() / 2
    if estimator == "k3":
        d = d.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
        return torch.expm1(-d) + d
    raise ValueError(f"no KL estimator called {estimator!r}; known: k1, k2, k3")


def kl_in_loss(estimator: str, logp: Tensor, old_logp: Tensor, ref_logp: Tensor, mask: Tensor) -> Tensor:
    """(B, T) penalty to be differentiated through `logp`.

    k2 has the gradient of KL(pi || pi_ref); k3 that of KL(pi_ref || pi); k3+ has k3's value and k2's gradient; ratio_k3 = r k3 keeps
    k2's expected gradient when the samples come from the old policy (DeepSeek-V3.2, arXiv 2512.02556).
    Raises ValueError for k1, whose expected gradient is zero, and for unknown names.
    """
    if estimator == "k3+":
        k2, k3 = (kl_value(name, logp, ref_logp, mask) for name in ("k2", "k3"))
        return k2 + (k3 - k2).detach()
    if estimator == "ratio_k3":
        return log_ratio(logp, old_logp, mask).exp() * kl_value("k3", logp, ref_logp, mask)
    if estimator == "k1":
        raise ValueError("k1 in the loss has a gradient of zero expectation; put it in the reward, or choose k2, k3, k3+, ratio_k3")
    return kl_value(estimator, logp, ref_logp, mask)


def adapted_kl(coefficient: float, found: float, target: float, samples: int, horizon: int) -> float:
    """The strength of the pull after `samples` completions whose divergence was `found`: up where it is above the target, down where it
    is below, by a factor of at most 1 +- 0.2 samples / horizon (Ziegler et al. 2019, arXiv 1909.08593, sec. 2.2).

    Samples beyond the horizon count no more: the paper's factor is negative from five horizons on.
    """
    return coefficient * (1 + min(max(found / target - 1, -0.2), 0.2) * min(samples, horizon) / horizon)


# Averaging: weights that sum to 1, except those of path_sum


def token_mean(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T) 1 / M on each of the M valid actions."""
    return mask.to(dtype) / mask.sum().clamp_min(1)


def sequence_mean(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T) 1 / (N n_i): the mean over the N non-empty paths of each path's mean over its n_i actions."""
    lengths = mask.sum(-1, keepdim=True)
    return mask.to(dtype) / lengths.clamp_min(1) / (lengths > 0).sum().clamp_min(1)


def path_sum(mask: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """(B, T) 1 / (N length) on every valid action: the mean over the N non-empty paths of a plain sum, over a constant length."""
    return mask.to(dtype) / (mask.any(-1).sum().clamp_min(1) * length)


def group_token_mean(mask: Tensor, group: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T) mean over the groups of each group's mean over all its actions (DAPO, arXiv 2503.14476, eq. 8 read literally)."""
    lengths = mask.sum(-1)
    in_group = (_together(group) * lengths.unsqueeze(-2)).sum(-1)  # (B,) actions of the path's whole group
    groups = ((in_group > 0).to(dtype) / _together(group).sum(-1)).sum()
    return mask.to(dtype) / (in_group.clamp_min(1) * groups.clamp_min(1)).unsqueeze(-1)


# Returns and advantages


def path_return(reward: Tensor, mask: Tensor) -> Tensor:
    """(B,) undiscounted sum of a path's rewards."""
    return masked(reward, mask).sum(-1)


def reward_to_go(reward: Tensor, mask: Tensor, gamma: float = 1.0) -> Tensor:
    """(B, T) sum of gamma^(k - t) r_k over k >= t; 0 outside the mask."""
    reward, out, running = masked(reward, mask), [], torch.zeros_like(reward[:, 0])
    for t in range(reward.shape[1] - 1, -1, -1):
        running = torch.where(mask[:, t], reward[:, t] + gamma * running, running)
        out.append(running)
    return masked(torch.stack(out[::-1], dim=1), mask)


def gae(reward: Tensor, value: Tensor, mask: Tensor, gamma: float, lam: float, bootstrap: Tensor, end: Tensor) -> Tensor:
    """(B, T) generalised advantage estimates over the valid actions; 0 outside the mask (arXiv 1506.02438, eq. 16).

    `end` marks the last action of an episode, of which a path may hold several; the value of the state that follows is then `bootstrap`
    (0 where the world ended, the true next state's value where a limit cut it), and no later advantage flows back across it. The last
    valid action of a path is an end in any case. Invalid actions are stepped over.
    """
    reward, value, bootstrap = (masked(x, mask) for x in (reward, value, bootstrap))
    out, later, last = [], torch.zeros_like(reward[:, 0]), torch.ones_like(mask[:, 0])
    next_value = torch.zeros_like(later)
    for t in range(reward.shape[1] - 1, -1, -1):
        stop = last | end[:, t]
        delta = reward[:, t] + gamma * torch.where(stop, bootstrap[:, t], next_value) - value[:, t]
        running = delta + gamma * lam * torch.where(stop, torch.zeros_like(later), later)
        later, next_value = torch.where(mask[:, t], running, later), torch.where(mask[:, t], value[:, t], next_value)
        last = last & ~mask[:, t]
        out.append(running)
    return masked(torch.stack(out[::-1], dim=1), mask)


def value_error(value: Tensor, old_value: Tensor, target: Tensor, mask: Tensor, clip: float | None) -> Tensor:
    """(B, T) half the squared error of a value; with `clip`, the larger of it and that of the value held within old_value +- clip, so
    that no step moves a value far at once (PPO's code; 1/2 max((V - R)^2, (V_clipped - R)^2))."""
    value, old_value, target = (masked(x, mask) for x in (value, old_value, target))
    error = (value - target).square()
    if clip is not None:
        error = torch.maximum(error, (old_value + (value - old_value).clamp(-clip, clip) - target).square())
    return error / 2


def _together(group: Tensor) -> Tensor:
    """(B, B) bool: which paths share a group."""
    return group.unsqueeze(-1) == group.unsqueeze(-2)


def group_moments(x: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and Bessel standard deviation of each path's group, (B,) each. NaN entries are left out; the deviation of a lone
    path, and of a group whose values agree to one part in 1e8, is exactly 0."""
    member = _together(group) & ~x.isnan().unsqueeze(-2)
    values = torch.where(member, x.unsqueeze(-2), torch.zeros_like(x).unsqueeze(-2))  # (B, B)
    count = member.sum(-1)
    mean = values.sum(-1) / count.clamp_min(1)
    squares = torch.where(member, (values - mean.unsqueeze(-1)).square(), torch.zeros_like(values)).sum(-1)
    high = torch.where(member, values, torch.full_like(values, -torch.inf)).amax(-1)
    low = torch.where(member, values, torch.full_like(values, torch.inf)).amin(-1)
    varies = (count > 1) & (high - low > 1e-8 * torch.maximum(high.abs(), low.abs()))
    deviation = (squares / (count - 1).clamp_min(1)).sqrt()
    return count, mean, torch.where(varies, deviation, torch.zeros_like(deviation))


def group_centred(x: Tensor, group: Tensor) -> Tensor:
    """(B,) x - mean within each group (Dr. GRPO, arXiv 2503.20783). Exactly 0 where `group_normalised` is."""
    _, mean, deviation = group_moments(x, group)
    return torch.where((deviation > 0) & ~x.isnan(), x - mean, torch.zeros_like(x))


def group_normalised(x: Tensor, group: Tensor, eps: float) -> Tensor:
    """(B,) (x - mean) / (std + eps) within each group (DeepSeekMath, arXiv 2402.03300, section 4.1.2; Bessel's std).

    Exactly 0 where the group has no spread, where it has one member, and where x is NaN (a path that could not be scored).
    """
    centred, deviation = group_centred(x, group), group_moments(x, group)[2]
    return torch.where(centred == 0, centred, centred / (deviation + eps))


def leave_one_out(x: Tensor, group: Tensor) -> Tensor:
    """(B,) mean of the other members of each path's group; the path's own value where it has none (RLOO, arXiv 2402.14740)."""
    count, mean, _ = group_moments(x, group)
    return torch.where(count > 1, (mean * count - x) / (count - 1).clamp_min(1), x)


def moving_average(history: Tensor, decay: float) -> Tensor:
    """() exponential average of (K,) values, oldest first, started at the first one; 0 for none."""
    if not len(history):
        return history.new_zeros(())
    weight = torch.full_like(history, 1 - decay)
    weight[0] = 1.0
    age = torch.arange(len(history) - 1, -1, -1, dtype=history.dtype, device=history.device)
    return (history * weight * decay**age).sum()


def whitened(x: Tensor, mask: Tensor) -> Tensor:
    """(B, T) zero mean and unit Bessel variance over all valid actions; unchanged where fewer than two are valid. NaN entries are left
    out and become 0."""
    mask = mask & ~x.isnan()
    n = mask.sum()
    mean = masked(x, mask).sum() / n.clamp_min(1)
    variance = masked((x - mean).square(), mask).sum() / (n - 1).clamp_min(1)
    return masked(torch.where(n > 1, (x - mean) / (variance + 1e-8).sqrt(), x), mask)


def overlong_penalty(length: Tensor, limit: int, cache: float) -> Tensor:
    """(B,) 0 up to limit - cache actions, then falling linearly to -1 at the limit (DAPO, arXiv 2503.14476, eq. 13)."""
    return ((limit - cache - length) / cache).clamp(-1, 0)
