"""How far two runs of one row may be apart."""

from __future__ import annotations

import math

import numpy

from bench.board.groups import Entry
from bench.stats.estimate import Estimate
from bench.stats.two_level import score_of_seeds


def band(entry: Entry, level: float = 0.99) -> float:
    """The distance that two runs' final scores keep within at this level, judged by the spread of the row's seeds; NaN for a single seed.

    On another platform a seed is another draw: rounding parts the curves, and the held-out items stay the same ones.
    """
    values = numpy.array([trial.last("eval_score") for trial in entry.trials if not trial.diverged])
    if len(values) < 2 or numpy.isnan(values).any():
        return math.nan
    spread = score_of_seeds(values)
    return Estimate(0.0, math.sqrt(2 * spread.per_seed), len(values) - 1, spread.per_seed, 0.0, 2).interval(level).high
