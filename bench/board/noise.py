"""How far two runs of one row may be apart."""

from __future__ import annotations

import math

import numpy

from bench.board.groups import Entry


def band(entry: Entry, level: float = 0.99) -> float:
    """The difference that two final scores of a row stay within at this level, by the spread of its own seeds; NaN for a single seed.

    Both are draws from one normal distribution whose deviation the row's S seeds tell: t quantile x deviation x sqrt(2).
    """
    from scipy.stats import t

    scores = numpy.array([trial.last("eval_score") for trial in entry.trials if not trial.diverged])
    if len(scores) < 2:
        return math.nan
    return float(t.ppf((1 + level) / 2, len(scores) - 1) * scores.std(ddof=1) * math.sqrt(2))
