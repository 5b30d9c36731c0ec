"""How much of the policy gradient a rule lets through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class MeanGate(RunMetric):
    """Share of the policy gradient kept, mean over training steps: 1 all, 0 none; above 1 where importance ratios are (`gate`)."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("gate",)

    def measure(self, curve: Curve) -> float:
        return float(curve["gate"].mean())
