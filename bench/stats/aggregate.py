"""One number for all runs of all tasks, as rliable defines it (Agarwal et al. 2021, arXiv 2108.13264, sec. 4.3).

Each takes (..., R, T) scores or one (..., R_t) array a task (`bench.stats.scores`) and gives (...), a plain number where there is no batch.
Where tasks have unequal numbers of runs, which rliable does not allow, `mean`, `median` and `optimality_gap` weigh tasks alike, `iqm` runs.
"""

from __future__ import annotations

import numpy

from bench.stats.scores import FloatArray, Scores, by_task, pooled, task_means

TRIMMED = 0.25  # the share of runs that the interquartile mean leaves out at each end


def mean(scores: Scores) -> FloatArray:
    """The mean over tasks of each task's mean. Moved by a single bad run or an easy task."""
    value: FloatArray = task_means(scores).mean(-1)
    return value


def median(scores: Scores) -> FloatArray:
    """The median over tasks of each task's mean: deaf to nearly half of the tasks. With one task or two it is the mean."""
    value: FloatArray = numpy.median(task_means(scores), axis=-1)
    return value


def iqm(scores: Scores) -> FloatArray:
    """The interquartile mean: of all N runs, without the N // 4 lowest and the N // 4 highest. Of five runs, the middle three."""
    _, middle, _ = trimmed(scores)
    return middle


def optimality_gap(scores: Scores, target: float = 1.0) -> FloatArray:
    """How far runs fall short of `target` on average, where more than it earns nothing; lower is better."""
    short = [numpy.minimum(task, target).mean(-1) for task in by_task(scores)]
    value: FloatArray = target - numpy.stack(short, -1).mean(-1)
    return value


def trimmed(scores: Scores) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(...) the lowest run that the interquartile mean keeps, that mean, and the highest run it keeps."""
    runs = pooled(scores)
    count = runs.shape[-1]
    cut = int(TRIMMED * count)
    ordered = numpy.sort(runs, axis=-1)  # as many numbers as here, vector instructions sort faster than numpy.partition divides
    return ordered[..., cut], ordered[..., cut : count - cut].mean(-1), ordered[..., count - cut - 1]
