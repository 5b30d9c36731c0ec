"""The best a run ever was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class BestScore(RunMetric):
    """Highest held-out score of any evaluation, in the task's unit; optimistic, as every maximum over noisy points is."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("eval_score",)

    def measure(self, curve: Curve) -> float:
        return float(curve["eval_score"].max())
