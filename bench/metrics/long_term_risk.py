"""How far below its best a run is at its worst times.

The paper means the deepest drawdowns. Its reference code takes the lower tail of drawdown, where the shallowest are; this takes the upper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric
from bench.metrics.falls import drawdown
from bench.metrics.tails import check_share, lower_tail


@dataclass(frozen=True, kw_only=True)
class LongTermRisk(RunMetric):
    """Mean distance of the held-out score below its best so far, at the worst 5% of evaluations, in the task's unit (Chan et al. 2020)."""

    alpha: float = 0.05  # share of the evaluations; of 20 or fewer, the worst alone

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("eval_score",)

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)

    def measure(self, curve: Curve) -> float:
        return 0.0 - lower_tail(-drawdown(curve["eval_score"]), self.alpha)
