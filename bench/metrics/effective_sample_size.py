"""How much of a batch its importance ratios leave to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class EffectiveSampleSize(RunMetric):
    """Effective share of a step's tokens or actions under their importance ratios, mean over training steps: 1 on policy (Kish 1965)."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("ratio/ess",)

    def measure(self, curve: Curve) -> float:
        return float(curve["ratio/ess"].mean())
