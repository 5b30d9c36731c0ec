"""GMPO: the geometric mean of a completion's clipped token ratios, so that a few extreme tokens move it little.

Departure from the paper: Bessel's standard deviation plus std_eps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward
from algorithms.group import GroupRelative


@dataclass(frozen=True, kw_only=True)
class GMPO(GroupRelative):
    """Clips each token's log-ratio, then weighs the completion by the exponential of their mean (arXiv 2507.20673, eq. 4)."""

    clip_low: float = 0.4  # of the logarithm: ratios between exp(-0.4) and exp(0.4)
    clip_high: float = 0.4

    clips: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = GroupRelative.ranges | {"clip_low": (0, math.inf), "clip_high": (0, math.inf)}

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        """Each action holds its completion's value."""
        log_ratio = ops.log_ratio(now.logp, batch.old_logp, batch.mask)
        pessimistic = torch.where(credit.advantage > 0, log_ratio.clamp_max(self.clip_high), log_ratio.clamp_min(-self.clip_low))
        mean = pessimistic.sum(-1, keepdim=True) / batch.mask.sum(-1, keepdim=True).clamp_min(1)
        return mean.exp() * credit.advantage
