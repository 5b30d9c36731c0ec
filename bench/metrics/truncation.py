"""How often an answer does not end by itself.

Of text alone, where `eval/pass@1` is known: on Gymnasium to last until the time limit may be the aim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class Truncation(RunMetric):
    """Share of held-out completions that the length limit cuts off, at the last evaluation."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("eval/truncated", "eval/pass@1")

    def measure(self, curve: Curve) -> float:
        return float(curve["eval/truncated"][-1])
