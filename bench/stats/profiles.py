"""How scores are spread, and how often one algorithm's run beats another's (Agarwal et al. 2021, arXiv 2108.13264, sec. 4.2 and 4.3)."""

from __future__ import annotations

from typing import Literal

import numpy
from numpy.typing import ArrayLike

from bench.stats.scores import FloatArray, Scores, by_task, finite, task_means


def performance_profile(scores: Scores, thresholds: ArrayLike, of: Literal["runs", "means"] = "runs") -> FloatArray:
    """(..., K) for each of K thresholds, the share of runs that score above it, tasks weighing alike; of="means": the share of tasks whose
    mean does. Above means more than, as in rliable. An algorithm whose profile lies above another's everywhere is stochastically better.
    """
    at = finite(thresholds, "thresholds")
    if at.ndim != 1:
        raise ValueError(f"thresholds have shape {at.shape}; one row of them is needed")
    if of == "means":
        above: FloatArray = (task_means(scores)[..., None] > at).mean(-2)
        return above
    if of != "runs":
        raise ValueError(f"a profile of {of!r} is unknown; there are 'runs' and 'means'")
    shares: FloatArray = numpy.stack([(task[..., None] > at).mean(-2) for task in by_task(scores)]).mean(0)
    return shares


def improvement_by_task(x: Scores, y: Scores) -> FloatArray:
    """(..., T) for each task, the share of pairs of runs in which x's is better than y's, equal ones counting one half (Mann and Whitney
    1947, Annals of Mathematical Statistics 18). x and y may have different numbers of runs, not of tasks; ValueError otherwise."""
    ours, theirs = by_task(x), by_task(y)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} tasks cannot be compared with {len(theirs)}; give both the same tasks in the same order")
    return numpy.stack([_share(a, b) for a, b in zip(ours, theirs, strict=True)], -1)


def probability_of_improvement(x: Scores, y: Scores) -> FloatArray:
    """(...) the probability that a run of x beats a run of y on the same task, averaged over tasks; 0.5 where they are alike.

    It says how often, never by how much. Speaks of new runs on these tasks; `bench.stats.shares.improvement_interval` has its interval.
    """
    value: FloatArray = improvement_by_task(x, y).mean(-1)
    return value


def _share(x: FloatArray, y: FloatArray) -> FloatArray:
    """(...) from (..., R) and (..., R2)."""
    x, y = x[..., :, None], y[..., None, :]
    share: FloatArray = ((x > y).mean((-2, -1)) + (x >= y).mean((-2, -1))) / 2
    return share
