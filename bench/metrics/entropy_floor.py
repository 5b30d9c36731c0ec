"""How close a policy came to collapse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.metrics.base import Metric

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class EntropyFloor(Metric):
    """Lowest mean token entropy of any training step, in nats (collapse ends learning: Cui et al. 2025, arXiv 2505.22617)."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("entropy/token",)

    def measure(self, curve: DataFrame) -> float:
        return float(curve["entropy/token"].min())
