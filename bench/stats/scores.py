"""Scores of runs on tasks: either an array (..., R, T) of R runs on each of T tasks, or one array (..., R_t) a task where tasks differ in
how many runs they have. Axes in front are a batch: resamples, points of a curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[numpy.float64]
Scores = FloatArray | Sequence[FloatArray]
Checked = FloatArray | list[FloatArray]


def checked(scores: Scores) -> Checked:
    """The scores as float64. Raises ValueError where there is no task, no run, or a score that is no finite number, and says where."""
    if isinstance(scores, numpy.ndarray):
        if scores.ndim < 2:
            raise ValueError(f"scores have shape {scores.shape}, but (..., runs, tasks) is needed; one task's runs are scores[:, None]")
        if not scores.shape[-1] or not scores.shape[-2]:
            raise ValueError(
                f"scores of shape {scores.shape} hold {scores.shape[-2]} runs of {scores.shape[-1]} tasks; leave out what is empty"
            )
        return finite(scores, "scores")
    if not len(scores):
        raise ValueError("scores hold no task; give one array of runs for each")
    tasks = [finite(task, f"scores of task {t}") for t, task in enumerate(scores)]
    for t, task in enumerate(tasks):
        if not task.ndim or not task.shape[-1]:
            raise ValueError(f"task {t} has no runs; leave it out")
    return tasks


def unbatched(scores: Scores) -> Checked:
    """The same for one (R, T) matrix, or one (R_t,) row a task. Raises ValueError for a batch as well."""
    held = checked(scores)
    if any(task.ndim > 1 for task in by_task(held)):
        raise ValueError("scores to resample have a batch axis in front; give one (runs, tasks) matrix")
    return held


def finite(values: ArrayLike, name: str) -> FloatArray:
    """The values as float64. Raises ValueError with the place of the first that is NaN or infinite."""
    array = numpy.asarray(values, dtype=numpy.float64)
    if not numpy.isfinite(array).all():
        place = tuple(int(i) for i in numpy.argwhere(~numpy.isfinite(array))[0])
        where = ", ".join(map(str, place))
        raise ValueError(f"{name}[{where}] is {array[place]}; leave that run out, or give it the score that a failed run counts as")
    return array


def by_task(scores: Scores) -> list[FloatArray]:
    """One (..., R_t) array a task."""
    held = checked(scores)
    return held if isinstance(held, list) else [held[..., t] for t in range(held.shape[-1])]


def task_means(scores: Scores) -> FloatArray:
    """(..., T) the mean of each task's runs."""
    held = checked(scores)
    means: FloatArray = numpy.stack([task.mean(-1) for task in held], -1) if isinstance(held, list) else held.mean(-2)
    return means


def pooled(scores: Scores) -> FloatArray:
    """(..., N) all runs of all tasks in one row."""
    held = checked(scores)
    return numpy.concatenate(held, -1) if isinstance(held, list) else held.reshape(*held.shape[:-2], -1)


def constant(scores: Scores) -> bool:
    """Whether no task's runs differ from each other."""
    return all(bool((task == task[..., :1]).all()) for task in by_task(scores))


def fewest(scores: Scores) -> int:
    """The runs of the task that has the fewest."""
    return min(int(task.shape[-1]) for task in by_task(scores))
