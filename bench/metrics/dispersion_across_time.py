"""How unsteadily a run learns.

The reference code of Chan et al. divides each change by the time between the two points. Here evaluations are evenly spaced but for what a
rollout batch overshoots, and to divide by a short interval would blow up the noise of two evaluations; so changes are taken as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy
from numpy.lib.stride_tricks import sliding_window_view

from bench.errors import ConfigError
from bench.metrics.base import Curve, RunMetric
from bench.metrics.tails import interquartile_range


@dataclass(frozen=True, kw_only=True)
class DispersionAcrossTime(RunMetric):
    """Interquartile range of the changes between held-out scores, mean over sliding windows, in the task's unit (Chan et al. 2020)."""

    window: int = 5  # changes in a window; all there are where those are fewer

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("eval_score",)

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ConfigError(f"window is {self.window}; it must be 2 or more, one change has no spread")

    def measure(self, curve: Curve) -> float:
        changes = numpy.diff(curve["eval_score"])
        if len(changes) < 2:
            return math.nan
        return float(interquartile_range(sliding_window_view(changes, min(self.window, len(changes)))).mean())
