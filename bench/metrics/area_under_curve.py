"""How well a run did on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.metrics.base import Metric

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class AreaUnderCurve(Metric):
    """Mean held-out score over the samples spent, by trapezoids, in the task's unit (total reward of Taylor and Stone 2009, JMLR 10)."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("samples", "eval_score")

    def measure(self, curve: DataFrame) -> float:
        samples, score = curve["samples"].to_numpy(float), curve["eval_score"].to_numpy(float)
        if samples[-1] <= samples[0]:
            return math.nan
        area = ((score[1:] + score[:-1]) / 2 * (samples[1:] - samples[:-1])).sum()
        return float(area / (samples[-1] - samples[0]))
