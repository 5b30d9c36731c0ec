"""GSPO: one importance ratio per sequence.

Departures from the paper: Bessel's standard deviation plus std_eps. The clip range is the paper's; it was set for long answers and
small steps, so small models need a wider one (the recipes carry theirs).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward
from algorithms.group import GroupRelative


@dataclass(frozen=True, kw_only=True)
class GSPO(GroupRelative):
    """Clips whole completions by their length-normalised sequence ratio (arXiv 2507.18071, eq. 5 and 7)."""

    clip_low: float = 3e-4
    clip_high: float = 4e-4
    per_token: bool = False  # GSPO-token (eq. 13 and 14): the same value, and a gradient that per-token advantages may use

    clips: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = GroupRelative.ranges | {"clip_low": (0, math.inf), "clip_high": (0, math.inf)}

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        if torch.finfo(now.logp.dtype).bits < 32:
            warnings.warn(
                f"log-probabilities in {now.logp.dtype} are rounded by more than GSPO's band (clip_low = {self.clip_low:g}); use float32",
                stacklevel=2,
            )
        log_ratio = ops.sequence_log_ratio(now.logp, batch.old_logp, batch.mask)
        if self.per_token:
            own = ops.log_ratio(now.logp, batch.old_logp, batch.mask)
            log_ratio = log_ratio.detach() + own - own.detach()
        return ops.clipped(log_ratio.exp(), credit.advantage, self.clip_low, self.clip_high)
