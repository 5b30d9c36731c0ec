"""How often a rule loses for good what it had learnt; `collapse_step` defines it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, SeedsMetric
from bench.metrics.falls import Collapse


@dataclass(frozen=True, kw_only=True)
class CollapseRate(SeedsMetric):
    """Share of seeds that lose for good more than half of the held-out score's gain over the start, as `collapse_step` has it."""

    share: float = 0.5  # of the gain that must be lost
    least_gain: float = 0.1  # in the task's unit

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("eval_score",)

    def __post_init__(self) -> None:
        Collapse(self.share, self.least_gain)

    def measure(self, curves: Sequence[Curve]) -> float:
        collapse = Collapse(self.share, self.least_gain)
        return sum(collapse.at(curve["eval_score"]) is not None for curve in curves) / len(curves)
