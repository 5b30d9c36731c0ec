"""CISPO: the importance weight is clipped, not the update, so that no token's gradient is ever dropped.

Departure from the paper: it names no bounds; the cap is the one that ScaleRL (arXiv 2510.13786) recommends, and there is no floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward
from algorithms.group import GroupRelative


@dataclass(frozen=True, kw_only=True)
class CISPO(GroupRelative):
    """Log-probabilities weighted by the advantage and a bounded importance ratio that carries no gradient (arXiv 2506.13585, eq. 4)."""

    ratio_floor: float = 0.0
    ratio_cap: float = 5.0

    ranges: ClassVar[dict[str, tuple[float, float]]] = GroupRelative.ranges | {"ratio_floor": (0, 1), "ratio_cap": (1, math.inf)}

    def average(self, batch: Batch) -> Tensor:
        return ops.token_mean(batch.mask, batch.old_logp.dtype)

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        ratio = ops.log_ratio(now.logp, batch.old_logp, batch.mask).exp().detach()
        return ratio.clamp(self.ratio_floor, self.ratio_cap) * ops.masked(now.logp, batch.mask) * credit.advantage
