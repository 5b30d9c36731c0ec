"""A value with its standard error and how well that is known: intervals, tests and power are read off it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy
from scipy import stats

from bench.stats.intervals import Interval, check_level


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

    def interval(self, level: float = 0.95, within: tuple[float, float] | None = None) -> Interval:
        """Bounds by Student's t. `within`: the lowest and the highest score there can be, for a score, never for a difference.

        With it the bounds are made on the log-odds scale, where they are even around the value (delta method; Cox 1970, "Analysis of Binary
        Data"): near a ceiling scores are skewed, and even bounds would miss the truth too often on one side. Raises ValueError for a value
        outside.
        """
        check_level(level)
        if math.isnan(self.error):
            return Interval(math.nan, self.value, math.nan, level, 0, self.note)
        half = self.error * float(stats.t.ppf((1 + level) / 2, self.freedom)) if self.error else 0.0
        low, high = (self.value - half, self.value + half) if within is None else _by_odds(self.value, half, *within)
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


def _by_odds(value: float, half: float, lowest: float, highest: float) -> tuple[float, float]:
    width = highest - lowest
    place = (value - lowest) / width
    if not 0 <= place <= 1:
        raise ValueError(f"a score of {value} does not lie within {lowest} to {highest}; leave `within` out where scores may leave it")
    if not half or not 0 < place < 1:
        return value, value
    odds, reach = math.log(place / (1 - place)), half / width / (place * (1 - place))
    low, high = 1 / (1 + numpy.exp(-numpy.clip([odds - reach, odds + reach], -700, 700)))
    return lowest + width * float(low), lowest + width * float(high)
