"""How good a run is with part of its budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy

from bench.errors import ConfigError
from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class ScoreAtFraction(RunMetric):
    """Held-out score at half the budget, or another share, by a straight line between evaluations, in the task's unit."""

    fraction: float = 0.5

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("samples", "budget", "eval_score")

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ConfigError(f"fraction is {self.fraction}; it must lie between 0 and 1")

    def measure(self, curve: Curve) -> float:
        samples, wanted = curve["samples"], self.fraction * curve["budget"][-1]
        if not samples[0] <= wanted <= samples[-1]:
            return math.nan
        return float(numpy.interp(wanted, samples, curve["eval_score"]))
