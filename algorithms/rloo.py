"""RLOO: REINFORCE with the mean of a prompt's other completions as baseline, a completion being one action.

Departure from the paper: completions may be reused for several steps; each is then weighted by its importance ratio, a product over its
tokens, which is clipped. On the first step this is the paper's gradient. The paper's pull to the reference is `kl`, in the reward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, KLEstimator, PolicyGradient


@dataclass(frozen=True, kw_only=True)
class RLOO(PolicyGradient):
    """Return less the mean of the other completions of the prompt, one ratio per completion (arXiv 2402.14740, sec. 3.3)."""

    kl_estimator: KLEstimator = "k1"
    clip: float = 0.2

    group: ClassVar[bool] = True
    clips: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = PolicyGradient.ranges | {"clip": (0, math.inf)}

    def credit(self, batch: Batch) -> Credit:
        returns = ops.path_return(self.shaped(batch), batch.mask)
        count, _, _ = ops.group_moments(returns, batch.group)
        advantage = ops.group_centred(returns, batch.group) * count / (count - 1).clamp_min(1)
        weight = ops.path_sum(batch.mask, 1, batch.old_logp.dtype)
        return Credit(ops.per_action(advantage, batch.mask), weight, per_path=True)

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        """Each action holds an equal share of its completion's value."""
        ratio = ops.path_log_ratio(now.logp, batch.old_logp, batch.mask).exp()
        lengths = batch.mask.sum(-1, keepdim=True).clamp_min(1)
        return ops.clipped(ratio, credit.advantage, self.clip, self.clip) / lengths
