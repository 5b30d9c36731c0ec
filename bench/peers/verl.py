"""verl's own functions, called with our batches. Advantages are verl's too, so that a whole update is compared."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Forward


def core() -> Any:
    """The module that holds its losses and advantages."""
    return importlib.import_module("verl.trainer.ppo.core_algos")


def actor(**settings: Any) -> Any:
    """Its actor's configuration: without a clip on A < 0 beyond a ratio of 1e9, unless `clip_ratio_c` is set."""
    config = importlib.import_module("verl.workers.config")
    needed = {"strategy": "fsdp", "rollout_n": 1, "ppo_micro_batch_size_per_gpu": 1, "clip_ratio_c": 1e9}
    return config.ActorConfig(**(needed | settings))


def actor_default(name: str) -> Any:
    """What its actor takes where nothing is set."""
    return getattr(importlib.import_module("verl.workers.config").ActorConfig, name)


def mask(of: Batch) -> Tensor:
    """(B, T) the mask as numbers."""
    return of.mask.to(of.old_logp)


def rewards(rule: Any, of: Batch) -> Tensor:
    """(B, T) token rewards, with the pull to the reference where the rule puts it there."""
    scores = ops.masked(of.reward, of.mask)
    if rule.kl > 0 and rule.kl_estimator == "k1":
        scores = core().compute_rewards(scores, of.old_logp, of.ref_logp, rule.kl) * mask(of)
    return scores


def group_advantage(rule: Any, of: Batch) -> Tensor:
    """(B, T) normalised by the group's deviation."""
    return _first(core().compute_grpo_outcome_advantage(rewards(rule, of), mask(of), of.group.numpy(), epsilon=rule.std_eps))


def centred_advantage(rule: Any, of: Batch) -> Tensor:
    """(B, T) less the group's mean."""
    return _first(core().compute_grpo_outcome_advantage(rewards(rule, of), mask(of), of.group.numpy(), norm_adv_by_std_in_grpo=False))


def leave_one_out(rule: Any, of: Batch) -> Tensor:
    """(B, T) less the mean of the others of the group."""
    return _first(core().compute_rloo_outcome_advantage(rewards(rule, of), mask(of), of.group.numpy()))


def whitened_returns(rule: Any, of: Batch) -> Tensor:
    """(B, T) rewards to go, whitened."""
    algorithm = importlib.import_module("verl.trainer.config").AlgoConfig(gamma=rule.gamma)
    return _first(core().compute_reinforce_plus_plus_outcome_advantage(rewards(rule, of), mask(of), config=algorithm))


def generalised(rule: Any, of: Batch) -> tuple[Tensor, Tensor]:
    """(B, T) advantages and what the critic regresses to. It whitens always, so advantages without are read off the latter."""
    advantage, returns = core().compute_gae_advantage_return(rewards(rule, of), of.old_value, mask(of), rule.gamma, rule.lam)
    return (advantage if rule.whiten else returns - of.old_value), returns


def policy_loss(name: str, of: Batch, now: Forward, advantage: Tensor, mode: str, **config: Any) -> Tensor:
    """() one of its registered policy losses."""
    return _first(core().get_policy_loss_fn(name)(of.old_logp, now.logp, advantage, mask(of), mode, actor(**config)))


def with_terms(loss: Tensor, rule: Any, of: Batch, now: Forward, mode: str) -> Tensor:
    """() the loss with the pull to the reference and the entropy bonus, aggregated the way its actor does."""
    if rule.kl > 0 and rule.kl_estimator != "k1":
        pull = core().kl_penalty(now.logp, of.ref_logp, rule.kl_estimator)
        loss = loss + rule.kl * core().agg_loss(pull, mask(of), mode)
    if rule.entropy_bonus > 0:
        loss = loss - rule.entropy_bonus * core().agg_loss(now.entropy, mask(of), mode)
    return loss


def _first(pair: tuple[Tensor, Any]) -> Tensor:
    return pair[0]
