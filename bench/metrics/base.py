"""What a metric is: a learning curve in, a number out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """One number for a run (scope "run") or for all seeds of an algorithm together (scope "seeds"). Fields are its settings."""

    better: ClassVar[Literal["higher", "lower"]]
    scope: ClassVar[Literal["run", "seeds"]] = "run"
    needs: ClassVar[tuple[str, ...]]  # columns of the curve: fields of a record, or names of probes

    def __call__(self, curve: DataFrame) -> float:
        """The metric of a tidy curve, one row a record; NaN where a needed column is missing or no row has all of them."""
        if any(name not in curve for name in self.needs):
            return math.nan
        rows = curve.dropna(subset=list(self.needs))
        return float(self.measure(rows.sort_values("step", kind="stable"))) if len(rows) else math.nan

    @abstractmethod
    def measure(self, curve: DataFrame) -> float:
        """The metric of at least one row, in order of step, with every needed value present. NaN where it is undefined."""
