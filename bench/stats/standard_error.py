"""How much an aggregate would move with other seeds: the spread of what each run contributes to it, task by task.

An aggregate is, to first order, a weighted sum over tasks of the mean of some function of the runs (the influence function; Hampel 1974,
JASA 69). For the interquartile mean that function holds a run within the lowest and the highest that are kept (Tukey and McLaughlin 1963,
Sankhya 25), here over all tasks together, while runs are compared within their own task only: tasks are strata, not chance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy

from bench.stats import aggregate
from bench.stats.scores import Checked, FloatArray, Scores, checked, task_means

Contributions = tuple[Checked, FloatArray]  # of each run, shaped like the scores; and the (..., T) weight of each task's mean of them
Statistic = Callable[..., FloatArray]


def standard_error(statistic: Statistic, scores: Scores) -> FloatArray:
    """(...) the standard error over seeds. Needs two runs of each task. Raises ValueError for a statistic that it does not know."""
    held, weight = _contributions(statistic, checked(scores))
    error: FloatArray = numpy.sqrt((weight**2 * _variance_of_means(held)).sum(-1))
    return error


def knows(statistic: Statistic) -> bool:
    """Whether there is a standard error for it: the functions of `bench.stats.aggregate`, their settings fixed by `functools.partial`."""
    return _parts(statistic)[0] in KNOWN


def _contributions(statistic: Statistic, scores: Checked) -> Contributions:
    function, settings = _parts(statistic)
    if function not in KNOWN:
        names = ", ".join(known.__name__ for known in KNOWN)
        raise ValueError(f"no standard error is known for {statistic}; take one of {names}, or an interval of method 'expanded'")
    return KNOWN[function](scores, **settings)


def _parts(statistic: Statistic) -> tuple[Statistic, dict[str, Any]]:
    return (statistic.func, statistic.keywords) if isinstance(statistic, partial) else (statistic, {})


def _variance_of_means(held: Checked) -> FloatArray:
    """(..., T) the variance of each task's mean, from its own runs."""
    if isinstance(held, list):
        return numpy.stack([task.var(-1, ddof=1) / task.shape[-1] for task in held], -1)
    variance: FloatArray = held.var(-2, ddof=1) / held.shape[-2]
    return variance


def _runs(scores: Checked) -> FloatArray:
    """(T,) how many runs each task has."""
    counts = [task.shape[-1] for task in scores] if isinstance(scores, list) else [scores.shape[-2]] * scores.shape[-1]
    return numpy.array(counts, dtype=numpy.float64)


def _mean(scores: Checked) -> Contributions:
    tasks = len(_runs(scores))
    return scores, numpy.full(tasks, 1 / tasks)


def _optimality_gap(scores: Checked, target: float = 1.0) -> Contributions:
    held = [numpy.minimum(task, target) for task in scores] if isinstance(scores, list) else numpy.minimum(scores, target)
    return held, _mean(scores)[1]


def _median(scores: Checked) -> Contributions:
    means = task_means(scores)
    tasks = means.shape[-1]
    middle = numpy.argsort(means, axis=-1, kind="stable")[..., (tasks - 1) // 2 : tasks // 2 + 1]
    weight = numpy.zeros_like(means)
    numpy.put_along_axis(weight, middle, 1 / middle.shape[-1], axis=-1)
    return scores, weight


def _iqm(scores: Checked) -> Contributions:
    low, _, high = aggregate.trimmed(scores)
    runs = _runs(scores)
    total = int(runs.sum())
    kept = total - 2 * int(aggregate.TRIMMED * total)
    if isinstance(scores, list):
        return [task.clip(low[..., None], high[..., None]) for task in scores], runs / kept
    return scores.clip(low[..., None, None], high[..., None, None]), runs / kept


KNOWN: dict[Statistic, Callable[..., Contributions]] = {
    aggregate.mean: _mean,
    aggregate.median: _median,
    aggregate.iqm: _iqm,
    aggregate.optimality_gap: _optimality_gap,
}
