"""Runs drawn again from those there are, within each task: the stratified bootstrap of Agarwal et al. 2021 (arXiv 2108.13264, sec. 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy
from numpy.random import Generator

from bench.stats.scores import Checked, FloatArray, Scores, unbatched

CHUNK = 2**17  # numbers drawn at a time: 1 MB of places and 1 MB of scores, which a core's own cache holds


def resamples(scores: Scores, rng: Generator, samples: int, noise: FloatArray | None = None) -> Iterator[Checked]:
    """`samples` resamples, a chunk at a time: (c, R, T) arrays, or lists of (c, R_t) where tasks differ in their number of runs.

    Each of a task's runs is drawn from all of that task's, with replacement and independently of other tasks. `noise` (T,) is the standard
    deviation of normal noise put on each drawn score. Raises ValueError for scores with a batch.
    """
    held = unbatched(scores)
    numbers = sum(task.size for task in held) if isinstance(held, list) else held.size
    step = max(1, CHUNK // numbers)
    for start in range(0, samples, step):
        count = min(step, samples - start)
        yield _ragged(held, rng, count, noise) if isinstance(held, list) else _matrix(held, rng, count, noise)


def values(scores: Scores, statistic: Callable[[Checked], FloatArray], rng: Generator, samples: int) -> FloatArray:
    """(samples, ...) the statistic of each resample."""
    return numpy.concatenate([numpy.asarray(statistic(drawn)) for drawn in resamples(scores, rng, samples)])


def _matrix(scores: FloatArray, rng: Generator, count: int, noise: FloatArray | None) -> FloatArray:
    runs, tasks = scores.shape
    drawn: FloatArray = scores[rng.integers(0, runs, size=(count, runs, tasks)), numpy.arange(tasks)]
    return drawn if noise is None else drawn + noise * rng.standard_normal(drawn.shape)


def _ragged(scores: list[FloatArray], rng: Generator, count: int, noise: FloatArray | None) -> list[FloatArray]:
    drawn: list[FloatArray] = [task[rng.integers(0, task.size, size=(count, task.size))] for task in scores]
    return drawn if noise is None else [task + width * rng.standard_normal(task.shape) for task, width in zip(drawn, noise, strict=True)]
