"""REINFORCE++: PPO's clip on returns that are whitened over the whole rollout batch; no critic and no groups.

The paper's pull to the reference is `kl`, in the reward of every token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, KLEstimator, PolicyGradient


@dataclass(frozen=True, kw_only=True)
class ReinforcePlusPlus(PolicyGradient):
    """Rewards to go, whitened over the rollout batch, under a token clip (arXiv 2501.03262)."""

    kl_estimator: KLEstimator = "k1"
    gamma: float = 1.0
    clip: float = 0.2

    clips: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = PolicyGradient.ranges | {"gamma": (0, 1), "clip": (0, math.inf)}

    def credit(self, batch: Batch) -> Credit:
        to_go = ops.reward_to_go(self.shaped(batch), batch.mask, self.gamma)
        return Credit(ops.whitened(to_go, batch.mask), ops.token_mean(batch.mask, batch.old_logp.dtype))

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        ratio = ops.log_ratio(now.logp, batch.old_logp, batch.mask).exp()
        return ops.clipped(ratio, credit.advantage, self.clip, self.clip)
