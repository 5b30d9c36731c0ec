"""How good the unlucky seeds are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy

from bench.metrics.base import Curve, SeedsMetric
from bench.metrics.tails import check_share, lower_tail


@dataclass(frozen=True, kw_only=True)
class RiskAcrossRuns(SeedsMetric):
    """Mean final held-out score of the worst 5% of seeds, in the task's unit (conditional value at risk: Chan et al. 2020)."""

    alpha: float = 0.05  # share of the seeds; of 20 or fewer, the worst alone
    diverged: float | None = None  # what a seed counts that left the finite numbers; None: its last evaluation

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("eval_score",)
    also: ClassVar[tuple[str, ...]] = ("diverged",)

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)

    def measure(self, curves: Sequence[Curve]) -> float:
        return lower_tail(numpy.array([self._final(curve) for curve in curves]), self.alpha)

    def _final(self, curve: Curve) -> float:
        if self.diverged is not None and "diverged" in curve and curve["diverged"][-1] > 0:
            return self.diverged
        return float(curve["eval_score"][-1])
