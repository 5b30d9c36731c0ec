"""GRPO: group-relative advantages under PPO's token clip.

Departures from the paper: no pull to the reference unless asked for (kl = 0.04 is the paper's), Bessel's standard deviation plus
std_eps, and outcome rewards only.
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
class GRPO(GroupRelative):
    """Scores each completion against its own group instead of a critic (DeepSeekMath, arXiv 2402.03300, eq. 3)."""

    clip: float = 0.2  # PPO's range; the paper names none
    dual_clip: float | None = None  # lower bound for A < 0, in multiples of A

    clips: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = GroupRelative.ranges | {"clip": (0, math.inf), "dual_clip": (1, math.inf)}

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        ratio = ops.log_ratio(now.logp, batch.old_logp, batch.mask).exp()
        return ops.clipped(ratio, credit.advantage, self.clip, self.clip, self.dual_clip)
