"""Dr. GRPO: GRPO without its two biases, the division by each answer's length and the one by each group's deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, PolicyGradient


@dataclass(frozen=True, kw_only=True)
class DrGRPO(PolicyGradient):
    """Rewards less the group's mean, summed over tokens and divided by a constant, the length limit (arXiv 2503.20783, sec. 3.1)."""

    clip: float = 0.2

    group: ClassVar[bool] = True
    clips: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = PolicyGradient.ranges | {"clip": (0, math.inf)}

    def credit(self, batch: Batch) -> Credit:
        returns = ops.path_return(self.shaped(batch), batch.mask)
        advantage = ops.per_action(ops.group_centred(returns, batch.group), batch.mask)
        return Credit(advantage, ops.path_sum(batch.mask, batch.longest, batch.old_logp.dtype), per_path=True)

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        ratio = ops.log_ratio(now.logp, batch.old_logp, batch.mask).exp()
        return ops.clipped(ratio, credit.advantage, self.clip, self.clip)
