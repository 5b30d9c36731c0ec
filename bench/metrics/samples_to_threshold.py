"""How soon a run is good enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.errors import ConfigError
from bench.metrics.base import Metric

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class SamplesToThreshold(Metric):
    """Training completions spent when an evaluation first reaches the threshold; NaN if none does (Taylor and Stone 2009, JMLR 10)."""

    threshold: float = 0.5  # in the task's unit

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("samples", "eval_score")

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ConfigError(f"threshold is {self.threshold}; it must be a finite score")

    def measure(self, curve: DataFrame) -> float:
        reached = curve.loc[curve["eval_score"] >= self.threshold, "samples"]
        return float(reached.iloc[0]) if len(reached) else math.nan
