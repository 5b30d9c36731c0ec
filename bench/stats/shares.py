"""Intervals of shares, without resampling: where all of five runs agree, every resample agrees, and a bootstrap would claim to be certain.

Each task's share has a score interval, the values that the data would not reject; those of several tasks are put together by squaring and
adding the distances of their bounds (Newcombe 1998, Statistics in Medicine 17; Zou and Donner 2008, Statistics in Medicine 27).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy
from numpy.typing import ArrayLike
from scipy import stats

from bench.stats.intervals import Interval, check_level
from bench.stats.profiles import improvement_by_task, performance_profile
from bench.stats.scores import FloatArray, Scores, by_task, finite

HALVINGS = 60  # of an interval of width 1: to the last bit
FloatFunction = Callable[[FloatArray], FloatArray]


def profile_band(scores: Scores, thresholds: ArrayLike, level: float = 0.95) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(K) lower bounds, shares and upper bounds of a performance profile of runs, each threshold for itself: Wilson's (1927, JASA 22).

    Speaks of new seeds on the same tasks. Every score has to be there; ValueError otherwise.
    """
    check_level(level)
    tasks = by_task(scores)
    shares = numpy.stack([performance_profile([task], thresholds) for task in tasks])
    runs = numpy.array([task.shape[-1] for task in tasks], dtype=numpy.float64)[:, None]
    low, high = _score_bounds(shares, lambda p: p * (1 - p) / runs, _reach(level, len(tasks), int(runs.min())))
    return _together(low, shares, high)


def items_interval(items: ArrayLike, level: float = 0.95) -> Interval:
    """The mean of (N,) shares of one model on N items, with Wilson's interval at the number of independent answers that they are worth: as
    many as give the standard error that the items' spread shows, so that several answers to one item do not count as several items.

    Speaks of further items like these. Where all are alike, each item counts once. Raises ValueError for no items and for values outside
    0 to 1.
    """
    check_level(level)
    held = finite(items, "items")
    if held.ndim != 1 or not len(held) or held.min() < 0 or held.max() > 1:
        raise ValueError(f"items have shape {held.shape}; (items,) with at least one is needed, and shares between 0 and 1")
    value, count = held.mean(), len(held)
    variance = held.var(ddof=1) / count if count > 1 else 0.0
    worth = value * (1 - value) / variance if variance > 0 else float(count)
    low, high = _score_bounds(value, lambda p: p * (1 - p) / worth, _reach(level, 1, count))
    return Interval(float(low), float(value), float(high), level)


def improvement_interval(x: Scores, y: Scores, level: float = 0.95) -> Interval:
    """The probability of improvement of x over y with its interval: Newcombe's fifth method (2006, Statistics in Medicine 25, part 2).

    Speaks of a new run of each, on these tasks. Five runs that all beat five others give 0.64 to 1. Not known from a single run of either.
    """
    check_level(level)
    ours, theirs = by_task(x), by_task(y)
    shares = improvement_by_task(ours, theirs)
    m, n = (numpy.array([task.shape[-1] for task in tasks], dtype=numpy.float64) for tasks in (ours, theirs))
    if min(m.min(), n.min()) < 2:
        return Interval(
            math.nan, float(shares.mean()), math.nan, level, 0, "one run of a task: how much another seed would differ is unknown"
        )

    def variance(p: FloatArray) -> FloatArray:
        more = (m + n) / 2 - 1
        spread: FloatArray = p * (1 - p) * (1 + more * (1 - p) / (2 - p) + more * p / (1 + p)) / (m * n)
        return spread

    low, high = _score_bounds(shares, variance, _reach(level, len(m), int(min(m.min(), n.min()))))
    bounds = [float(b) for b in _together(low, shares, high)]
    return Interval(bounds[0], bounds[1], bounds[2], level)


def _reach(level: float, tasks: int, runs: int) -> float:
    """How many standard errors a task's bounds are away. Alone a score interval of few runs holds its level through its lopsidedness, which
    averages out over tasks; what stays is that n runs show (n - 1) / n of the variance. Simulation says that this mends it."""
    lost = (1 - 1 / tasks) / (runs - 1) if runs > 1 else 0.0
    return float(stats.norm.ppf((1 + level) / 2)) * math.sqrt(1 + lost)


def _score_bounds(share: FloatArray, variance: FloatFunction, reach: float) -> tuple[FloatArray, FloatArray]:
    """The smallest and the largest p with |share - p| <= reach * sqrt(variance(p))."""
    bounds = []
    for end in (numpy.zeros_like(share), numpy.ones_like(share)):
        inside, outside = share.copy(), end
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            near = numpy.abs(share - middle) <= reach * numpy.sqrt(variance(middle))
            inside, outside = numpy.where(near, middle, inside), numpy.where(near, outside, middle)
        bounds.append((inside + outside) / 2)
    return bounds[0], bounds[1]


def _together(low: FloatArray, shares: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Bounds of the mean over the first axis, the tasks."""
    value = shares.mean(0)
    below, above = (numpy.sqrt(((bound - shares) ** 2).sum(0)) / len(shares) for bound in (low, high))
    return value - below, value, value + above
