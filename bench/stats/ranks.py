"""Ranks that claim no more than the tests behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import ArrayLike

from bench.stats.scores import FloatArray, finite


@dataclass(frozen=True)
class Rank:
    """Where an entry may stand: `low` is 1 + the entries that are significantly better, `high` all entries less the significantly worse."""

    low: int  # what a board prints; equal for entries that nothing tells from the leader
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


def holm(p_values: ArrayLike) -> FloatArray:
    """(m,) p values made good for being m at once: the chance of any false claim among them stays below the level (Holm 1979, Scandinavian
    Journal of Statistics 6). NaN, a test that could not be made, stays NaN and counts among the m."""
    p = numpy.asarray(p_values, dtype=numpy.float64)
    if p.ndim != 1 or bool(((p < 0) | (p > 1)).any()):
        raise ValueError(f"p values {p.tolist()} are not a row of numbers from 0 to 1")
    order = numpy.argsort(numpy.where(numpy.isnan(p), math.inf, p), kind="stable")
    held = numpy.nan_to_num(p[order], nan=1.0) * numpy.arange(p.size, 0, -1)
    adjusted = numpy.empty_like(p)
    adjusted[order] = numpy.minimum(numpy.maximum.accumulate(held), 1.0)
    return numpy.where(numpy.isnan(p), math.nan, adjusted)


def ranks(scores: Sequence[float], p_values: ArrayLike, alpha: float = 0.05) -> list[Rank]:
    """The rank of each of n entries, higher scores better, from the (n, n) two-sided p values of all pairs, Holm-corrected here.

    Nothing breaks a tie: entries that no test tells apart share their rank, and the order of their scores is not a finding. Ranks `low` to
    `high` hold for all entries at once with probability 1 - `alpha` at least (Mogstad, Romano, Shaikh and Wilhelm 2024, Review of Economic
    Studies 91). Being tied is not transitive: the first and the third may differ where neither differs from the second. NaN is a pair that
    could not be tested. Only p values above the diagonal are read. Raises ValueError for scores that are missing or shapes that differ.
    """
    value, p = finite(scores, "scores"), numpy.asarray(p_values, dtype=numpy.float64)
    count = value.size
    if value.ndim != 1 or p.shape != (count, count):
        raise ValueError(f"{count} scores need p values of shape {(count, count)}, not {p.shape}")
    first, second = numpy.triu_indices(count, 1)
    apart = holm(p[first, second]) < alpha
    better = numpy.zeros((count, count), dtype=bool)  # [i, j]: i is significantly better than j
    ahead = apart & (value[first] > value[second])
    behind = apart & (value[first] < value[second])
    better[first[ahead], second[ahead]] = True
    better[second[behind], first[behind]] = True
    above, below = better.sum(0), better.sum(1)
    return [Rank(1 + int(a), count - int(b)) for a, b in zip(above, below, strict=True)]
