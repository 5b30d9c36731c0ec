"""A value with its standard error and how well that is known: intervals, tests and power are read off it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from bench.stats.intervals import Interval, Range, check_level, spread


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of two."""

    value: float
    error: float  # standard error; NaN where it is unknown
    freedom: float  # degrees of freedom of that error, as in Student's t; infinite where nothing varies
    per_seed: float  # variance that one seed of each entry would have; falls as 1 / seeds
    fixed: float  # variance that more seeds would not take away: the items'
    groups: int  # 1 for a score, 2 for a difference
    note: str = ""  # what a reader has to know

    def interval(self, level: float = 0.95, within: Range | None = None) -> Interval:
        """Bounds by Student's t. `within`: the lowest and the highest score there can be, for a score, never for a difference.

        With it the bounds are even in log-odds (`bench.stats.intervals.spread`). Raises ValueError for a value outside.
        """
        check_level(level)
        if math.isnan(self.error):
            return Interval(math.nan, self.value, math.nan, level, 0, self.note)
        half = self.error * float(stats.t.ppf((1 + level) / 2, self.freedom)) if self.error else 0.0
        low, high = spread(self.value, half, half, within)
        return Interval(low, self.value, high, level, 0, self.note)

    def p_value(self, against: float = 0.0) -> float:
        """Two-sided: how often a truth of `against` would give a value this far off or further. NaN where the error is unknown."""
        if math.isnan(self.error):
            return math.nan
        if not self.error:
            return 1.0 if self.value == against else 0.0
        return float(2 * stats.t.sf(abs(self.value - against) / self.error, self.freedom))


def unknown(value: float, why: str) -> Estimate:
    """An estimate of whose spread the data say nothing."""
    return Estimate(value, math.nan, math.nan, math.nan, math.nan, 1, why)
