"""The best a run ever was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.metrics.base import Metric

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class BestScore(Metric):
    """Highest held-out score of any evaluation, in the task's unit; optimistic, as every maximum over noisy points is."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("eval_score",)

    def measure(self, curve: DataFrame) -> float:
        return float(curve["eval_score"].max())
