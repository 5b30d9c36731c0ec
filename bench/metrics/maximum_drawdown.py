"""How much a run forgot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric
from bench.metrics.falls import drawdown


@dataclass(frozen=True, kw_only=True)
class MaximumDrawdown(RunMetric):
    """Deepest fall of the held-out score below its best so far, in the task's unit (drawdown of Chan et al. 2020, arXiv 1912.05663)."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("eval_score",)

    def measure(self, curve: Curve) -> float:
        return float(drawdown(curve["eval_score"]).max())
