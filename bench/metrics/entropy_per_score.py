"""What a gain costs in diversity.

Entropy is known at training steps, the score at evaluations, the first of them before any step; so each column is read by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.errors import ConfigError
from bench.metrics.base import Curve, FloatArray, RunMetric


@dataclass(frozen=True, kw_only=True)
class EntropyPerScore(RunMetric):
    """Entropy spent for each unit of held-out score gained, first to last, in nats; NaN without a gain (after Cui et al. 2025)."""

    least_gain: float = 0.05  # in the task's unit: over a smaller one it is noise

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("entropy/token|entropy/policy", "eval_score")
    joint: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.least_gain < math.inf:
            raise ConfigError(f"least_gain is {self.least_gain}; it must be a score above 0")

    def measure(self, curve: Curve) -> float:
        gain = -_spent(curve["eval_score"])
        return _spent(curve["entropy/token"]) / gain if gain >= self.least_gain else math.nan


def _spent(column: FloatArray) -> float:
    """The first value less the last."""
    there = column[column == column]
    return float(there[0] - there[-1])
