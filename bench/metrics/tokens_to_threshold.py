"""How much a run has to write until it is good enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve
from bench.metrics.threshold import ToThreshold


@dataclass(frozen=True, kw_only=True)
class TokensToThreshold(ToThreshold):
    """Training tokens (or actions) spent when an evaluation first reaches the threshold; NaN if none does (Taylor and Stone 2009)."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("tokens", "eval_score")

    def measure(self, curve: Curve) -> float:
        return self.spent(curve, "tokens")
