"""How much the seed decides.

Seeds of one rule may evaluate at slightly different points where a rollout batch overshoots, so a score between two evaluations is read off
the straight line. After the end of a seed, of one that diverged for instance, the others are compared without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy

from bench.metrics.base import Curve, FloatArray, SeedsMetric
from bench.metrics.tails import interquartile_range


@dataclass(frozen=True, kw_only=True)
class DispersionAcrossRuns(SeedsMetric):
    """Interquartile range of the held-out score over seeds, mean over evaluations, in the task's unit (Chan et al. 2020)."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("samples", "eval_score")

    def measure(self, curves: Sequence[Curve]) -> float:
        points = numpy.unique(numpy.concatenate([curve["samples"] for curve in curves]))
        at = [numpy.interp(points, curve["samples"], curve["eval_score"], left=math.nan, right=math.nan) for curve in curves]
        scores = numpy.stack(at, axis=-1)  # (points, seeds)
        there = (~numpy.isnan(scores)).sum(-1)
        spreads = [interquartile_range(_present(scores[there == n], n)) for n in range(2, len(curves) + 1) if (there == n).any()]
        return float(numpy.concatenate(spreads).mean()) if spreads else math.nan


def _present(scores: FloatArray, count: int) -> FloatArray:
    """(P, count) of (P, S) scores those that are there, `count` in each row."""
    return numpy.sort(scores, axis=-1)[:, :count]  # NaN comes last
