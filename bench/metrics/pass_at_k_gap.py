"""What lies between answering right at times and always."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric

LARGEST = "|".join(f"eval/pass@{2**n}" for n in range(12, 0, -1))  # evaluations tell of k = 2, 4, 8, ... completions


@dataclass(frozen=True, kw_only=True)
class PassAtKGap(RunMetric):
    """Held-out pass@k of the largest k there is less pass@1, at the last evaluation: how much several attempts add (arXiv 2107.03374)."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("eval/pass@1", LARGEST)

    def measure(self, curve: Curve) -> float:
        return float(curve[LARGEST.partition("|")[0]][-1] - curve["eval/pass@1"][-1])
