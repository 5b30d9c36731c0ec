"""What an interval says, and Student's, for bands of curves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy
from scipy import special, stats

from bench.stats.scores import FloatArray, finite


@dataclass(frozen=True)
class Interval:
    """A value and the bounds that repeated experiments of the same size would set around the truth in a share `level` of cases."""

    low: float  # NaN where the data cannot say
    value: float
    high: float
    level: float = 0.95
    samples: int = 0  # resamples drawn; 0 where the bounds come from a formula
    note: str = ""  # what a reader has to know: why bounds are unknown, of no width, or of another kind

    @property
    def known(self) -> bool:
        """Whether the data set bounds at all."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def holds(self, value: float) -> bool:
        """Whether a value lies inside; False where there are no bounds."""
        return self.low <= value <= self.high


Range = tuple[float, float]  # the lowest and the highest value there can be


def spread(value: float, below: float, above: float, within: Range | None) -> tuple[float, float]:
    """Bounds so far below and above a value; where it can only lie within a range, those distances are taken on the scale of log-odds.

    Near a ceiling scores are skewed, and distances that are even there leave more room on the side where the truth is missed (delta method;
    logit intervals of shares, Brown, Cai and DasGupta 2001, Statistical Science 16). Raises ValueError for a value outside the range.
    """
    if within is None:
        return value - below, value + above
    lowest, highest = within
    width, place = highest - lowest, (value - lowest) / (highest - lowest) if lowest < highest else math.nan
    if not math.isfinite(width) or not 0 <= place <= 1:
        raise ValueError(f"{value} does not lie within {lowest} to {highest}; leave `within` out where scores have no limits or pass them")
    if place in (0, 1):
        return max(value - below, lowest), min(value + above, highest)
    odds, slope = math.log(place / (1 - place)), 1 / (width * place * (1 - place))
    low, high = special.expit([odds - below * slope, odds + above * slope])
    return lowest + width * float(low), lowest + width * float(high)


def check_level(level: float) -> None:
    """Raises ValueError for a level that is not a share strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but a share between 0 and 1 is needed, such as 0.95")


def student_band(runs: FloatArray, level: float = 0.95) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(N) lower bounds, means and upper bounds of (R, N) runs at N points, each point for itself, by Student's t (1908, Biometrika 6).

    Speaks of the mean over further seeds of the same specification on the same items. Bounds are NaN for a single run. Raises ValueError
    where a score is missing.
    """
    check_level(level)
    held = finite(runs, "runs")
    if held.ndim < 1 or not held.shape[0]:
        raise ValueError(f"runs have shape {held.shape}; (runs, points) with at least one run is needed")
    count, value = held.shape[0], held.mean(0)
    if count == 1:
        return numpy.full_like(value, numpy.nan), value, numpy.full_like(value, numpy.nan)
    half = _reach(level, count) * held.std(0, ddof=1) / math.sqrt(count)
    return value - half, value, value + half


@cache
def _reach(level: float, count: int) -> float:
    """How many standard errors Student's interval of a mean of `count` values reaches to each side."""
    return float(stats.t.ppf((1 + level) / 2, count - 1))
