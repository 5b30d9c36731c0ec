"""Where a run ends up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class FinalScore(RunMetric):
    """Held-out score of the last evaluation, in the task's unit (asymptotic performance of Taylor and Stone 2009, JMLR 10)."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("eval_score",)

    def measure(self, curve: Curve) -> float:
        return float(curve["eval_score"][-1])
