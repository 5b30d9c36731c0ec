"""How far the importance ratios reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class RatioTail(RunMetric):
    """Largest importance ratio of any token or action of any training step: 1 on policy."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("ratio/max",)

    def measure(self, curve: Curve) -> float:
        return float(curve["ratio/max"].max())
