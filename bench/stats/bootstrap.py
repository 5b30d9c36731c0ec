"""Intervals over seeds for an aggregate of several tasks, that hold what they promise with five seeds.

The percentiles of resampled scores, rliable's interval, are too narrow for few seeds: of five they cover 83 % of cases, not 95 %
(`python benchmarks/coverage.py`). Two things are missing. Resamples of n runs spread by (n - 1) / n of what they should; and that the
spread itself is only guessed from n runs is not counted at all. The default mends both: resamples carry normal noise of variance s^2 / n
(Hesterberg 2004, "Unbiasing the bootstrap: bootknife sampling vs. smoothing"), so that their spread is right and no resample is constant,
and what is recorded of each is its error in units of its own standard error, as in Student's t (the studentized bootstrap; Hall 1988,
Annals of Statistics 16; smoothed for small samples, Polansky 2000, Canadian Journal of Statistics 28). For one task's mean of normal scores
that is Student's interval.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy
from numpy.random import Generator
from scipy import stats

from bench.stats.intervals import Interval, Range, check_level, spread
from bench.stats.resampling import resamples, values
from bench.stats.scores import Checked, FloatArray, Scores, by_task, constant, fewest, unbatched
from bench.stats.standard_error import Statistic, knows, standard_error

Method = Literal["studentized", "expanded", "percentile"]
METHODS: tuple[str, ...] = get_args(Method)
NODES = 64  # points that stand for the noise around each run, where the truth of the resampled world is worked out
ONE_RUN = "one run of a task: how much another seed would differ is unknown"
ALL_SAME = "all runs of a task scored the same: there is no width to see, which is not to say that another seed could not differ"
STAND_IN = "too many runs scored the same for a standard error; expanded percentiles stand in"


def bootstrap(
    scores: Scores,
    statistic: Statistic,
    rng: Generator,
    samples: int = 10_000,
    level: float = 0.95,
    method: Method = "studentized",
    within: Range | None = None,
) -> Interval:
    """The interval of an aggregate over new seeds of the same specifications, on the same tasks and the same held-out items.

    `scores`: (R, T), or one (R_t,) array a task. `statistic` maps (c, R, T), or a list of (c, R_t), to (c,). Methods: "studentized" for
    `mean`, `median`, `iqm` and `optimality_gap`; "expanded" for any statistic: percentiles further out, by as much as Student's t asks for
    at the smallest task's number of runs (Hesterberg 2015, The American Statistician 69, sec. 5.3); "percentile", rliable's own. `within`:
    the lowest and the highest value there can be, (0, 1) for accuracies; studentized bounds are then made in log-odds, which few and skewed
    scores below a ceiling need (`bench.stats.intervals.spread`). Bounds are NaN where a task has one run (not with "percentile"), and the
    value itself where no task's runs differ; `note` says so. Raises ValueError for scores or settings it cannot use.
    """
    check_level(level)
    held = unbatched(scores)
    if samples < 1:
        raise ValueError(f"samples is {samples}; at least 1 is needed, and thousands for bounds that hold still")
    if method not in METHODS:
        raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
    if method == "studentized" and not knows(statistic):
        raise ValueError(f"{statistic} has no standard error here, which method 'studentized' needs; take method='expanded'")
    value = float(statistic(held))
    if method == "percentile":
        note = ONE_RUN if fewest(held) == 1 else ALL_SAME if constant(held) else ""
        low, high = _percentiles(held, statistic, rng, samples, (1 - level) / 2)
        return Interval(low, value, high, level, samples, note)
    if fewest(held) == 1:
        return Interval(math.nan, value, math.nan, level, 0, ONE_RUN)
    if constant(held):
        return Interval(value, value, value, level, 0, ALL_SAME)
    if method == "studentized" and (bounds := _studentized(held, statistic, rng, samples, level, within)):
        return Interval(bounds[0], value, bounds[1], level, samples)
    low, high = _percentiles(held, statistic, rng, samples, expanded_tail(fewest(held), level))
    return Interval(low, value, high, level, samples, STAND_IN if method == "studentized" else "")


def expanded_tail(runs: int, level: float) -> float:
    """The share of resamples to leave out at each end, so that n runs' percentiles reach as far as Student's t would."""
    reach = math.sqrt(runs / (runs - 1)) * stats.t.ppf((1 + level) / 2, runs - 1)
    return float(stats.norm.cdf(-reach))


def _percentiles(scores: Checked, statistic: Statistic, rng: Generator, samples: int, tail: float) -> tuple[float, float]:
    low, high = numpy.percentile(values(scores, statistic, rng, samples), [100 * tail, 100 * (1 - tail)])
    return float(low), float(high)


def _studentized(
    scores: Checked, statistic: Statistic, rng: Generator, samples: int, level: float, within: Range | None
) -> tuple[float, float] | None:
    """The bounds; None where too many runs are equal for a standard error."""
    value, error = float(statistic(scores)), float(standard_error(statistic, scores))
    if not error:
        return None
    least, most = numpy.quantile(_errors(scores, statistic, rng, samples), [(1 - level) / 2, (1 + level) / 2], method="nearest")
    if not (math.isfinite(least) and math.isfinite(most)):
        return None
    return spread(value, float(most * error), float(-least * error), within)


def _errors(scores: Checked, statistic: Statistic, rng: Generator, samples: int) -> FloatArray:
    """(samples,) how far each noisy resample is off, in units of its own standard error."""
    width = numpy.array([task.std(ddof=1) / math.sqrt(task.size) for task in by_task(scores)])
    truth = float(statistic(_smooth(scores, width)))
    found = []
    for drawn in resamples(scores, rng, samples, width):
        with numpy.errstate(divide="ignore", invalid="ignore"):
            found.append((statistic(drawn) - truth) / standard_error(statistic, drawn))
    return numpy.nan_to_num(numpy.concatenate(found), nan=0.0, posinf=math.inf, neginf=-math.inf)


def _smooth(scores: Checked, width: FloatArray) -> Checked:
    """The world that noisy resamples come from, each run spread over evenly likely points: (R * NODES, T), or such a row for each task."""
    points = stats.norm.ppf((numpy.arange(NODES) + 0.5) / NODES)
    spread = [(task[:, None] + w * points).ravel() for task, w in zip(by_task(scores), width, strict=True)]
    return spread if isinstance(scores, list) else numpy.stack(spread, -1)
