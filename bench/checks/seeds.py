"""What a metric of several seeds promises beside what every metric does."""

from __future__ import annotations

import math

from bench.checks.expect import expect
from bench.checks.metrics import curves, poor, same
from bench.metrics.base import SeedsMetric

ASKS = SeedsMetric


def takes_seeds_as_they_come(metric: SeedsMetric) -> None:
    """The order of seeds changes nothing, nor does one that lacks a column; a seed alone gives a number or NaN, no seed gives NaN."""
    for given in curves(metric):
        seeds, wanted = list(given.values()), metric(list(given.values()))
        found = metric(seeds[::-1])
        expect(same(found, wanted), f"gives {found} instead of {wanted} for the same seeds in another order")
        for title, lacking in poor(metric, given):
            found = metric([seeds[0], next(iter(lacking.values())), *seeds[1:]])
            expect(same(found, wanted), f"gives {found} instead of {wanted} beside a seed {title}; such a seed is left out")
        alone = metric(seeds[:1])
        expect(type(alone) is float and not math.isinf(alone), f"gives {alone!r} for one seed")
    none = metric([])
    expect(isinstance(none, float) and math.isnan(none), f"gives {none!r} without seeds; NaN stands for undefined")


CONTRACTS = [("seeds may come in any order, and one without data is left out", takes_seeds_as_they_come)]
