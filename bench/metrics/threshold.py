"""What the metrics share that ask how soon a run is good enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.errors import ConfigError
from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class ToThreshold(RunMetric):
    """A count at the first evaluation that reaches a score."""

    threshold: float = 0.5  # in the task's unit

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ConfigError(f"threshold is {self.threshold}; it must be a finite score")

    def spent(self, curve: Curve, count: str) -> float:
        """The column `count` where `eval_score` first reaches the threshold; NaN where it never does."""
        reached = curve["eval_score"] >= self.threshold
        return float(curve[count][reached.argmax()]) if reached.any() else math.nan
