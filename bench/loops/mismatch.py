"""What sampler and trainer disagree on for the same weights, for they may round otherwise: how much it is, and a correction."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit


def gap(each: Tensor) -> dict[str, float]:
    """Of the absolute differences between log-probabilities of tokens, the mean and the largest; nothing of none."""
    return {"rollout/logp_gap_mean": float(each.mean()), "rollout/logp_gap_max": float(each.max())} if len(each) else {}


def mend(credit: Credit, batch: Batch, sampler_logp: Tensor, cap: float) -> tuple[Credit, dict[str, float]]:
    """Truncated importance sampling: credit with each token's advantage times min(pi_old / pi_sampler, cap), and what that came to; the
    credit as it is where `cap` is 0.

    (B, T) `sampler_logp` are the sampler's own log-probabilities, `batch.old_logp` the trainer's for the same weights. Every rule's
    surrogate is linear in a positive factor of the advantage, so this is the factor on the surrogate; pulls to a reference and bonuses are
    left as they are. (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training"; the form of verl and TRL.)
    """
    if not cap:
        return credit, {}
    ratio = ops.log_ratio(batch.old_logp, sampler_logp, batch.mask).exp()
    kept = ratio.clamp(max=cap)
    of = batch.mask
    found = {"rollout/tis_mean": float(kept[of].mean()), "rollout/tis_capped_frac": float((ratio[of] > cap).float().mean())}
    return replace(credit, advantage=credit.advantage * kept), found
