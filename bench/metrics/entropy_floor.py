"""How close a policy came to collapse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class EntropyFloor(RunMetric):
    """Lowest mean entropy of any training step, in nats a token or action (collapse ends learning: Cui et al. 2025, arXiv 2505.22617)."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("entropy/token|entropy/policy",)

    def measure(self, curve: Curve) -> float:
        return float(curve["entropy/token"].min())
