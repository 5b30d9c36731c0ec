"""Where along an axis a curve over seeds is known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy
from numpy.typing import NDArray

Array = NDArray[numpy.float64]
POINTS = 200  # at most, of one curve over seeds
PARTS = 40  # at most, of one run's curve of a probe


def thinned(column: Array) -> Array:
    """Means of so many neighbours that about `PARTS` are left: what is asked of a probe is its course, not its noise."""
    starts, sizes = _parts(len(column))
    return numpy.add.reduceat(column, starts) / sizes


@cache
def _parts(length: int) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64]]:
    """Where each of the parts of a column begins, and how long it is."""
    starts = numpy.arange(0, length, -(-length // PARTS))
    return starts, numpy.diff(numpy.append(starts, length))


def grid_of(places: Sequence[Array]) -> Array:
    """Every place at which a run has a value, or evenly spaced ones where those are many."""
    every = numpy.unique(numpy.concatenate(places))
    return every if len(every) <= POINTS else numpy.linspace(every[0], every[-1], POINTS)
