"""How often a run has to ask until it is good enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve
from bench.metrics.threshold import ToThreshold


@dataclass(frozen=True, kw_only=True)
class VerifierCallsToThreshold(ToThreshold):
    """Verifier calls in training when an evaluation first reaches the threshold; NaN if none does or nothing has to be verified."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("verifier_calls", "eval_score")

    def measure(self, curve: Curve) -> float:
        if curve["verifier_calls"][-1] <= 0:  # Gymnasium pays without being asked
            return math.nan
        return self.spent(curve, "verifier_calls")
