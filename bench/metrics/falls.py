"""How far a score fell, and whether for good."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy

from bench.errors import ConfigError
from bench.metrics.base import FloatArray
from bench.metrics.tails import check_share


def drawdown(score: FloatArray) -> FloatArray:
    """(N,) how far each score lies below the best so far; never negative."""
    return numpy.maximum.accumulate(score) - score


@dataclass(frozen=True)
class Collapse:
    """What counts as one: `share` of the gain over the start is lost for good, where the gain was `least_gain` or more."""

    share: float
    least_gain: float

    def __post_init__(self) -> None:
        check_share("share", self.share)
        if not 0 <= self.least_gain < math.inf:
            raise ConfigError(f"least_gain is {self.least_gain}; it must be a score of 0 or more")

    def at(self, score: FloatArray) -> int | None:
        """The first place of (N,) scores that, with all that follow, lies below (1 - share) of the way from the start to the best before.

        None where the score ends above that, or never was `least_gain` above its start.
        """
        start = score[0]
        gain = numpy.maximum.accumulate(score) - start
        low = (score - start < (1 - self.share) * gain) & (gain >= self.least_gain)
        return len(low) - int(low[::-1].argmin()) if low[-1] else None  # the start itself never is low
