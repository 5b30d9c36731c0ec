"""Each rule that verl has a counterpart of. It adds 1e-8 to most of its counts, which is what most of the tolerances allow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Forward
from bench.peers import verl
from bench.peers.compared import Counterpart, cases

COUNTS = 2e-8
TOKENS, PATHS, SUMS, SCALED = "token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"


def reinforce_advantage(rule: Any, of: Batch) -> Tensor:
    """(B, T) by the baseline that is set."""
    if rule.baseline == "whiten":
        return verl.whitened_returns(rule, of)
    if rule.baseline == "none":
        return ops.per_action(verl.rewards(rule, of).sum(-1), of.mask)
    group = of.group if rule.baseline == "group_loo" else torch.zeros_like(of.group)
    return verl.leave_one_out(rule, Batch(group=group, reward=of.reward, mask=of.mask, old_logp=of.old_logp, ref_logp=of.ref_logp))


def reinforce_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() its REINFORCE, whose truncated ratios are computed by its caller."""
    mode = {"tokens": TOKENS, "paths": SUMS, "limit": SCALED}[rule.normaliser]
    ratio = None if rule.ratio_cap is None else (now.logp - of.old_logp).detach().exp().clamp(max=rule.ratio_cap)
    advantage = reinforce_advantage(rule, of)
    loss, _ = verl.core().compute_policy_loss_reinforce(of.old_logp, now.logp, advantage, verl.mask(of), mode, verl.actor(), ratio)
    return verl.with_terms(loss, rule, of, now, mode)


def a2c_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() the log-probability times the advantage, and the critic's part."""
    loss = verl.policy_loss("gpg", of, now, verl.generalised(rule, of)[0], TOKENS)
    return with_critic(verl.with_terms(loss, rule, of, now, TOKENS), rule, of, now)


def clipped_loss(of: Batch, now: Forward, advantage: Tensor, mode: str, low: float, high: float, dual: float | None) -> Tensor:
    """() the clip that its PPO, GRPO and DAPO share."""
    bounds = {"clip_ratio_low": low, "clip_ratio_high": high, "clip_ratio_c": dual or 1e9}
    return verl.policy_loss("vanilla", of, now, advantage, mode, **bounds)


def ppo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() the clip, averaged by tokens, and the critic's part."""
    loss = clipped_loss(of, now, verl.generalised(rule, of)[0], TOKENS, rule.clip, rule.clip, rule.dual_clip)
    return with_critic(verl.with_terms(loss, rule, of, now, TOKENS), rule, of, now)


def with_critic(loss: Tensor, rule: Any, of: Batch, now: Forward) -> Tensor:
    """() the loss with the critic's part."""
    coefficient: float = rule.value_coef
    return loss + coefficient * value_loss(rule, of, now)


def value_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() the critic's, without its weight."""
    bound = 1e9 if rule.value_clip is None else rule.value_clip
    loss, _ = verl.core().compute_value_loss(now.value, verl.generalised(rule, of)[1], of.old_value, verl.mask(of), bound)
    return torch.as_tensor(loss)


def grpo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() the clip, averaged by paths."""
    loss = clipped_loss(of, now, verl.group_advantage(rule, of), PATHS, rule.clip, rule.clip, rule.dual_clip)
    return verl.with_terms(loss, rule, of, now, PATHS)


def dapo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() the clip, averaged by tokens."""
    loss = clipped_loss(of, now, verl.group_advantage(rule, of), TOKENS, rule.clip_low, rule.clip_high, None)
    return verl.with_terms(loss, rule, of, now, TOKENS)


def gspo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() one ratio per path, in the form that gives each token its own gradient."""
    bounds = {"clip_ratio_low": rule.clip_low, "clip_ratio_high": rule.clip_high}
    loss = verl.policy_loss("gspo", of, now, verl.group_advantage(rule, of), PATHS, **bounds)
    return verl.with_terms(loss, rule, of, now, PATHS)


def sapo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() the soft gate."""
    loss = verl.policy_loss("sapo", of, now, verl.group_advantage(rule, of), PATHS, tau_pos=rule.tau_pos, tau_neg=rule.tau_neg)
    return verl.with_terms(loss, rule, of, now, PATHS)


def dr_grpo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() the clip on centred rewards, summed by paths over a constant."""
    loss = clipped_loss(of, now, verl.centred_advantage(rule, of), SCALED, rule.clip, rule.clip, None)
    return verl.with_terms(loss, rule, of, now, SCALED)


def reinforce_plus_plus_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() the clip on whitened returns, averaged by tokens."""
    loss = clipped_loss(of, now, verl.whitened_returns(rule, of), TOKENS, rule.clip, rule.clip, None)
    return verl.with_terms(loss, rule, of, now, TOKENS)


def cispo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() weights within bounds, averaged by tokens."""
    bounds = {"clip_ratio_low": 1 - rule.ratio_floor, "clip_ratio_high": rule.ratio_cap - 1}
    loss = verl.policy_loss("cispo", of, now, verl.group_advantage(rule, of), TOKENS, **bounds)
    return verl.with_terms(loss, rule, of, now, TOKENS)


def gmpo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() geometric means, averaged by paths."""
    bounds = {"clip_ratio_low": rule.clip_low, "clip_ratio_high": rule.clip_high}
    loss = verl.policy_loss("geo_mean", of, now, verl.group_advantage(rule, of), PATHS, **bounds)
    return verl.with_terms(loss, rule, of, now, PATHS)


PULLS = tuple({"kl": 0.3, "kl_estimator": name} for name in ("k1", "k2", "k3", "k3+"))
GROUPS: dict[str, Any] = {"advantage": verl.group_advantage, "tolerance": COUNTS, "empty": True}
CRITICS: dict[str, Any] = {"advantage": lambda rule, of: verl.generalised(rule, of)[0], "tolerance": COUNTS, "empty": True}
CASES = cases(
    Counterpart(
        rule="reinforce",
        function="compute_policy_loss_reinforce, rloo",
        loss=reinforce_loss,
        advantage=reinforce_advantage,
        settings=(
            {},
            {"baseline": "none", "normaliser": "paths"},
            {"baseline": "group_loo", "normaliser": "limit"},
            {"baseline": "group_loo", "ratio_cap": 1.3},
        ),
        tolerance=COUNTS,
        empty=True,
        outcome=True,
    ),
    Counterpart(
        rule="reinforce",
        function="compute_policy_loss_reinforce, reinforce_plus_plus",
        loss=reinforce_loss,
        advantage=reinforce_advantage,
        settings=(
            {"baseline": "whiten", "gamma": 0.9},
            {"baseline": "whiten", "gamma": 0.8, "kl": 0.2, "kl_estimator": "k1", "entropy_bonus": 0.02},
        ),
        tolerance=COUNTS,
        empty=True,
    ),
    Counterpart(
        rule="a2c",
        function="gpg, compute_gae_advantage_return, compute_value_loss",
        loss=a2c_loss,
        settings=(
            {},
            {"gamma": 0.9, "lam": 0.7, "entropy_bonus": 0.05},
            {"whiten": True, "value_clip": 0.3, "kl": 0.2, "kl_estimator": "k2"},
        ),
        **CRITICS,
    ),
    Counterpart(
        rule="ppo",
        function="vanilla, compute_gae_advantage_return, compute_value_loss",
        loss=ppo_loss,
        settings=(
            {},
            {"clip": 0.05, "dual_clip": 1.5, "gamma": 0.9, "value_clip": 0.1, "value_coef": 2.0, "entropy_bonus": 0.05},
            {"whiten": False, "kl": 0.2, "kl_estimator": "k1", "value_clip": None},
        ),
        **CRITICS,
    ),
    Counterpart(
        rule="grpo",
        function="vanilla, grpo",
        loss=grpo_loss,
        settings=({}, {"clip": 0.05, "std_eps": 1e-6}, {"dual_clip": 3.0}, {"dual_clip": 1.3, "entropy_bonus": 0.1}, *PULLS),
        **GROUPS,
    ),
    Counterpart(
        rule="dapo",
        function="vanilla, grpo",
        loss=dapo_loss,
        settings=(
            {"overlong_soft": False},
            {"overlong_soft": False, "clip_low": 0.1, "clip_high": 0.4, "entropy_bonus": 0.1},
            {"overlong_soft": False, "kl": 0.2, "kl_estimator": "k3+"},
        ),
        **GROUPS,
    ),
    Counterpart(
        rule="gspo",
        function="gspo, grpo",
        loss=gspo_loss,
        settings=(
            {},
            {"clip_low": 0.05, "clip_high": 0.08},
            {"clip_low": 0.05, "clip_high": 0.08, "per_token": True},
            {"clip_low": 0.1, "clip_high": 0.1, "kl": 0.2, "kl_estimator": "k2", "entropy_bonus": 0.05},
        ),
        **GROUPS,
    ),
    Counterpart(
        rule="sapo",
        function="sapo, grpo",
        loss=sapo_loss,
        settings=({}, {"tau_pos": 3.0, "tau_neg": 0.5}, {"tau_pos": 2.0, "kl": 0.1, "kl_estimator": "k3", "entropy_bonus": 0.05}),
        **(GROUPS | {"tolerance": 1e-7}),
    ),
    Counterpart(
        rule="dr_grpo",
        function="vanilla, grpo without its deviation",
        loss=dr_grpo_loss,
        settings=({}, {"clip": 0.1, "kl": 0.2, "kl_estimator": "k2", "entropy_bonus": 0.05}),
        **(GROUPS | {"advantage": verl.centred_advantage}),
    ),
    Counterpart(
        rule="reinforce_plus_plus",
        function="vanilla, reinforce_plus_plus",
        loss=reinforce_plus_plus_loss,
        settings=({}, {"gamma": 0.9, "clip": 0.1, "kl": 0.2, "kl_estimator": "k1", "entropy_bonus": 0.05}),
        **(GROUPS | {"advantage": verl.whitened_returns}),
    ),
    Counterpart(
        rule="cispo",
        function="cispo, grpo",
        loss=cispo_loss,
        settings=({}, {"ratio_floor": 0.9, "ratio_cap": 1.1}, {"ratio_cap": 1.5, "kl": 0.1, "kl_estimator": "k3+", "entropy_bonus": 0.05}),
        **GROUPS,
    ),
    Counterpart(
        rule="gmpo",
        function="geo_mean, grpo",
        loss=gmpo_loss,
        settings=({}, {"clip_low": 0.1, "clip_high": 0.2}, {"kl": 0.1, "kl_estimator": "k3", "entropy_bonus": 0.05}),
        **(GROUPS | {"empty": False}),
    ),
)
