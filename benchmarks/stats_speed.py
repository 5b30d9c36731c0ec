"""CPU-seconds for 50,000 bootstrap samples of an interquartile mean's interval, ours and rliable 1.2.0's, in turn in one process.

    .oracle/bin/python benchmarks/stats_speed.py              `make oracle` makes that environment

Each round times both, one after the other, on the same scores and on one thread; the ratio is of the medians. Both intervals are
percentiles of the same kind of resamples (tests/test_stats_oracle.py shows them equal), and must agree within chance here, too. Our default
interval, which also takes the standard error of every resample, is timed beside them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy

from bench.stats import aggregate
from bench.stats.bootstrap import bootstrap

SHAPES = ((5, 2), (10, 4), (5, 10), (10, 10), (10, 26))


def rliable() -> tuple[Any, Any]:
    """Its library and metrics. Its `arch` does not import beside pandas 3, arch's bootstrap does."""
    found = PathFinder.find_spec("arch")
    if found is None or PathFinder.find_spec("rliable") is None or found.submodule_search_locations is None:
        raise SystemExit("rliable 1.2.0 is not installed here; run this with .oracle/bin/python, which `make oracle` makes")
    package = ModuleType("arch")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["arch"] = package
    warnings.simplefilter("ignore")
    from rliable import library, metrics

    return library, metrics


def timed(work: Callable[[], list[float]]) -> tuple[float, list[float]]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def main() -> None:
    """Prints one Markdown row for each number of runs and tasks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    library, metrics = rliable()
    print("| runs x tasks | rliable, CPU-s | ours, CPU-s | times faster | our default, CPU-s | times faster |\n|---|---|---|---|---|---|")
    for shape in SHAPES:
        scores = numpy.random.default_rng(shape).random(shape)

        def theirs(scores: Any = scores) -> list[float]:
            function = lambda s: numpy.array([metrics.aggregate_iqm(s)])  # noqa: E731
            _, bounds = library.get_interval_estimates({"x": scores}, function, reps=arguments.samples)
            return bounds["x"][:, 0].tolist()

        def ours(method: Any, scores: Any = scores) -> list[float]:
            interval = bootstrap(scores, aggregate.iqm, numpy.random.default_rng(0), arguments.samples, method=method)
            return [interval.low, interval.high]

        rounds = [(timed(theirs), timed(lambda: ours("percentile")), timed(lambda: ours("studentized"))) for _ in range(arguments.rounds)]
        seconds = [statistics.median(each[part][0] for each in rounds) for part in range(3)]
        difference = numpy.abs(numpy.subtract(rounds[0][0][1], rounds[0][1][1])).max()
        if difference > 0.02:
            raise SystemExit(f"{shape}: the intervals differ by {difference}, which chance does not explain")
        ratios = [seconds[0] / seconds[part] for part in (1, 2)]
        name = f"{shape[0]} x {shape[1]}"
        print(f"| {name} | {seconds[0]:.2f} | {seconds[1]:.3f} | {ratios[0]:.0f} | {seconds[2]:.3f} | {ratios[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
