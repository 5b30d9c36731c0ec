"""How often a gradient stands out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy
from numpy.lib.stride_tricks import sliding_window_view

from bench.errors import ConfigError
from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class GradientNormSpikes(RunMetric):
    """Share of training steps whose gradient norm before clipping is above 5 times the median of the 10 steps before."""

    factor: float = 5.0
    window: int = 10  # steps before; a median of 0 is nothing to compare with, so that step does not count

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("grad/norm|grad/norm_policy|grad/norm_q",)  # value rules have a norm for each network

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise ConfigError(f"factor is {self.factor}; it must be above 0")
        if self.window < 1:
            raise ConfigError(f"window is {self.window}; it must be 1 or more")

    def measure(self, curve: Curve) -> float:
        norm = curve["grad/norm"]
        if len(norm) <= self.window:
            return math.nan
        before = numpy.sort(sliding_window_view(norm, self.window)[:-1], axis=-1)
        median = (before[:, (self.window - 1) // 2] + before[:, self.window // 2]) / 2
        compared = median > 0
        return float((norm[self.window :] > self.factor * median)[compared].mean()) if compared.any() else math.nan
