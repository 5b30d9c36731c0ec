"""Quantiles of a few numbers, and what lies beyond them."""

from __future__ import annotations

import numpy

from bench.errors import ConfigError
from bench.metrics.base import FloatArray


def quantile(ordered: FloatArray, share: float) -> FloatArray:
    """(...) the value below which `share` of the last axis lies, (..., N) in rising order, by straight lines between neighbours."""
    place = share * (ordered.shape[-1] - 1)
    low = int(place)
    high = min(low + 1, ordered.shape[-1] - 1)
    below, above = ordered[..., low], ordered[..., high]
    return numpy.asarray(below + (place - low) * (above - below))


def interquartile_range(values: FloatArray) -> FloatArray:
    """(...) the spread of the middle half of the last axis."""
    ordered = numpy.sort(values, axis=-1)
    return numpy.asarray(quantile(ordered, 0.75) - quantile(ordered, 0.25))


def lower_tail(values: FloatArray, alpha: float) -> float:
    """Mean of the values (N,) up to their `alpha` quantile: the conditional value at risk of Chan et al. 2020, arXiv 1912.05663."""
    ordered = numpy.sort(values)
    return float(ordered[ordered <= quantile(ordered, alpha)].mean())


def check_share(name: str, value: float) -> None:
    """Raises ConfigError where a setting is no share strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ConfigError(f"{name} is {value}; it must lie between 0 and 1")
