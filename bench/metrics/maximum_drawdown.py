"""How much a run forgot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.metrics.base import Metric

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class MaximumDrawdown(Metric):
    """Deepest fall of the held-out score below its best so far, in the task's unit (drawdown of Chan et al. 2020, arXiv 1912.05663)."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("eval_score",)

    def measure(self, curve: DataFrame) -> float:
        return float((curve["eval_score"].cummax() - curve["eval_score"]).max())
