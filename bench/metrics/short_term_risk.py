"""How deep a run falls from one evaluation to the next.

Chan et al. give the change itself, below 0 for a fall; here the fall is above 0, and below where even the worst change is a rise. Changes
are not divided by the time between evaluations, for the reason that `dispersion_across_time` gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy

from bench.metrics.base import Curve, RunMetric
from bench.metrics.tails import check_share, lower_tail


@dataclass(frozen=True, kw_only=True)
class ShortTermRisk(RunMetric):
    """Mean fall of the held-out score in the worst 5% of its changes between evaluations, in the task's unit (Chan et al. 2020)."""

    alpha: float = 0.05  # share of the changes; of 20 or fewer, the worst alone

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("eval_score",)

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)

    def measure(self, curve: Curve) -> float:
        changes = numpy.diff(curve["eval_score"])
        return 0.0 - lower_tail(changes, self.alpha) if len(changes) else math.nan
