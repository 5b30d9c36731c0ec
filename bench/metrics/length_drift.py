"""Whether answers grow or shrink.

Of text alone, where `eval/pass@1` is known: a long episode on Gymnasium may be the aim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class LengthDrift(RunMetric):
    """Growth of held-out completions from first to last evaluation as a share of their first mean length in tokens: 1 twice as long."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("eval/length", "eval/pass@1")

    def measure(self, curve: Curve) -> float:
        length = curve["eval/length"]
        return float(length[-1] / length[0]) - 1 if len(length) > 1 and length[0] > 0 else math.nan
