"""How well a run did on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class AreaUnderCurve(RunMetric):
    """Mean held-out score over the samples spent, by trapezoids, in the task's unit (total reward of Taylor and Stone 2009, JMLR 10)."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("samples", "eval_score")

    def measure(self, curve: Curve) -> float:
        samples, score = curve["samples"], curve["eval_score"]
        if samples[-1] <= samples[0]:
            return math.nan
        area = ((score[1:] + score[:-1]) / 2 * (samples[1:] - samples[:-1])).sum()
        return float(area / (samples[-1] - samples[0]))
