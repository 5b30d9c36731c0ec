"""How much of a low score is form alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class LenientGap(RunMetric):
    """Share of held-out completions that are right once their form is forgiven, at the last evaluation: lenient less strict score."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = (
        "eval/lenient",
        "eval/strict",
    )

    def measure(self, curve: Curve) -> float:
        return float(curve["eval/lenient"][-1] - curve["eval/strict"][-1])
