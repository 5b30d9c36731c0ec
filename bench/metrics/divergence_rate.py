"""How often a rule breaks down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, SeedsMetric


@dataclass(frozen=True, kw_only=True)
class DivergenceRate(SeedsMetric):
    """Share of seeds whose training left the finite numbers."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("diverged",)

    def measure(self, curves: Sequence[Curve]) -> float:
        return sum(bool(curve["diverged"][-1] > 0) for curve in curves) / len(curves)
