"""How often intervals hold the truth, by simulation in worlds whose truth is known. 95 % is promised.

    python benchmarks/coverage.py                   every row, 2000 experiments each: five CPU-minutes
    python benchmarks/coverage.py --only two-level --experiments 10000

Prints, for each world, the coverage of our default, the share of experiments in which the truth lay below and above it, and beside it the
coverage of plain bootstrap percentiles (over seeds: rliable's; over seeds and items: both drawn anew, the pigeonhole bootstrap). The
standard error of a coverage of 95 % is 0.5 points at 2000 experiments. Seeded: the same table every time.
"""

from __future__ import annotations

import argparse
import math
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy
from numpy.random import Generator
from numpy.typing import NDArray

from bench.stats import aggregate, two_level
from bench.stats.bootstrap import bootstrap
from bench.stats.intervals import Interval
from bench.stats.profiles import probability_of_improvement
from bench.stats.shares import improvement_interval

Array = NDArray[numpy.float64]
Draw = Callable[[Generator, int], Array]  # of one task's runs
RESAMPLES = 1000
TRUTH = 1_000_000


def normal(mean: float = 0.8, sd: float = 0.02) -> Draw:
    return lambda rng, runs: rng.normal(mean, sd, runs)


def beta(a: float, b: float) -> Draw:
    return lambda rng, runs: rng.beta(a, b, runs)


@dataclass(frozen=True)
class Seeds:
    """Runs of one or more tasks, and an aggregate of them."""

    name: str
    statistic: Callable[..., Array]
    tasks: tuple[Draw, ...]
    runs: int
    within: tuple[float, float] | None = None

    def truth(self, rng: Generator) -> float:
        return float(self.statistic(numpy.stack([draw(rng, TRUTH // len(self.tasks)) for draw in self.tasks], -1)))

    def experiment(self, rng: Generator) -> dict[str, Interval]:
        scores = numpy.stack([draw(rng, self.runs) for draw in self.tasks], -1)
        ours = bootstrap(scores, self.statistic, rng, RESAMPLES, within=self.within)
        return {"ours": ours, "plain": bootstrap(scores, self.statistic, rng, RESAMPLES, method="percentile")}


@dataclass(frozen=True)
class Items:
    """Seeds on held-out items, logistic: log-odds of an answer = level + seed + item + both, each normal; `answers` a seed and item.
    With `ahead`, the difference to an algorithm that is so much better, on the same items."""

    name: str
    seeds: int
    items: int
    level: float = 1.4
    by_seed: float = 0.15
    by_item: float = 2.0
    by_both: float = 0.5
    answers: int = 8
    ahead: float | None = None

    def truth(self, rng: Generator) -> float:
        odds = self.level + math.hypot(self.by_seed, self.by_item, self.by_both) * rng.standard_normal(TRUTH)
        return float(_chance(odds).mean() - (0 if self.ahead is None else _chance(odds + self.ahead).mean()))

    def _scores(self, rng: Generator, item: Array, ahead: float = 0.0) -> Array:
        seed, both = rng.standard_normal((self.seeds, 1)), rng.standard_normal((self.seeds, self.items))
        odds = self.level + ahead + self.by_seed * seed + item + self.by_both * both
        return rng.binomial(self.answers, _chance(odds)) / self.answers

    def experiment(self, rng: Generator) -> dict[str, Interval]:
        item = self.by_item * rng.standard_normal(self.items)
        a = self._scores(rng, item)
        if self.ahead is None:
            return {"ours": two_level.score(a).interval(within=(0, 1)), "plain": pigeonhole([a], rng)}
        b = self._scores(rng, item, self.ahead)
        return {"ours": two_level.difference(a, b).interval(), "plain": pigeonhole([a, b], rng)}


@dataclass(frozen=True)
class Pairs:
    """The probability of improvement of one algorithm over another, by one task or more."""

    name: str
    tasks: tuple[tuple[Draw, Draw], ...]
    runs: int

    def truth(self, rng: Generator) -> float:
        return float(numpy.mean([(x(rng, TRUTH) > y(rng, TRUTH)).mean() for x, y in self.tasks]))

    def experiment(self, rng: Generator) -> dict[str, Interval]:
        x, y = (numpy.stack([pair[side](rng, self.runs) for pair in self.tasks], -1) for side in (0, 1))
        places = [rng.integers(0, self.runs, (RESAMPLES, self.runs, len(self.tasks))) for _ in (x, y)]
        drawn = probability_of_improvement(*(numpy.take_along_axis(s[None], p, 1) for s, p in zip((x, y), places, strict=True)))
        return {"ours": improvement_interval(x, y), "plain": _percentiles(drawn)}


World = Seeds | Items | Pairs


def pigeonhole(entries: list[Array], rng: Generator, samples: int = 200) -> Interval:
    """Seeds of each entry and items of all drawn anew (Owen 2007), and the percentiles of that."""
    items = _weights(rng, entries[0].shape[1], samples)
    means = [_weights(rng, len(entry), samples) @ entry for entry in entries]  # (samples, K)
    return _percentiles(((means[0] - (means[1] if len(means) == 2 else 0)) * items).sum(1))


def _weights(rng: Generator, count: int, samples: int) -> Array:
    """(samples, count) how often each is drawn, as a share."""
    return rng.multinomial(count, numpy.full(count, 1 / count), samples) / count


def _percentiles(drawn: Array) -> Interval:
    low, high = numpy.percentile(drawn, [2.5, 97.5])
    return Interval(float(low), float(drawn.mean()), float(high))


def _chance(odds: Array) -> Array:
    return 1 / (1 + numpy.exp(-odds))


SHAPES: dict[str, tuple[Draw, ...]] = {
    "normal": (normal(),),
    "beta(80, 4), below a ceiling": (beta(80, 4),),
    "beta(8, 2)": (beta(8, 2),),
    "beta(20, 1), very skewed": (beta(20, 1),),
    "2 tasks far apart": (normal(0.8), normal(0.4)),
    "2 tasks, one steady": (normal(0.8), normal(0.4, 0.005)),
    "2 tasks, beta(80, 4) and beta(8, 3)": (beta(80, 4), beta(8, 3)),
    "4 tasks, mixed": (normal(0.8), normal(0.4, 0.03), beta(80, 4), normal(0.6, 0.1)),
}
EFFECTS: dict[str, dict[str, float]] = {
    "seeds and items differ": {},
    "items alike": {"by_seed": 0.3, "by_item": 0, "by_both": 0},
    "seeds alike": {"by_seed": 0, "by_both": 0.3},
    "seeds and items alike": {"by_seed": 0, "by_item": 0, "by_both": 0},
    "seeds far apart": {"by_seed": 0.8, "by_item": 1, "by_both": 0.3},
    "near the ceiling": {"level": 4, "by_seed": 0.5, "by_item": 1.5, "by_both": 0.3},
}
RIVALS: dict[str, tuple[tuple[Draw, Draw], ...]] = {
    "alike": ((normal(), normal()),),
    "one sd ahead": ((normal(0.82), normal()),),
    "three sd ahead": ((normal(0.86), normal()),),
    "2 tasks, ahead on one": ((normal(0.82), normal()), (normal(), normal())),
    "4 tasks, unequal spread": tuple((normal(0.8 + d), normal(0.8, 0.04)) for d in (0, 0.01, 0.02, 0.03)),
}


def worlds() -> dict[str, list[World]]:
    """Every row of the table, by the kind of interval."""
    both = (("mean", aggregate.mean), ("IQM", aggregate.iqm))
    limits = {name: (0.0, 1.0) for name in SHAPES if "beta" in name}
    seeds = [Seeds(f"{n} of {s}", f, tasks, runs, limits.get(s)) for s, tasks in SHAPES.items() for n, f in both for runs in (5, 10)]
    grid = [(name, effect, s, k) for name, effect in EFFECTS.items() for k in (256, 20) for s in (5, 10)]
    score = [Items(f"{name}, {k} items", s, k, **effect) for name, effect, s, k in grid]  # type: ignore[arg-type]
    paired = [Items(f"{name}, {k} items", s, k, ahead=0.3, **effect) for name, effect, s, k in grid]  # type: ignore[arg-type]
    pairs = [Pairs(name, tasks, runs) for name, tasks in RIVALS.items() for runs in (5, 10)]
    return {"seeds": [*seeds], "two-level score": [*score], "two-level difference": [*paired], "improvement": [*pairs]}


def coverage(kind: str, row: int, experiments: int) -> dict[str, tuple[float, float, float]]:
    """For ours and for plain percentiles: the share of experiments that hold the truth, that lie wholly above it, wholly below it."""
    world = worlds()[kind][row]
    rng = numpy.random.default_rng(_seed(kind, world))
    truth = world.truth(rng)
    found: dict[str, list[tuple[bool, bool, bool]]] = {"ours": [], "plain": []}
    for _ in range(experiments):
        for name, interval in world.experiment(rng).items():
            found[name].append((interval.holds(truth), truth < interval.low, truth > interval.high))
    return {name: tuple(numpy.mean(rows, axis=0).tolist()) for name, rows in found.items()}


def _seed(kind: str, world: World) -> int:
    size = world.runs if not isinstance(world, Items) else world.seeds
    return zlib.crc32(f"coverage:{kind}:{world.name}:{size}".encode())


def main() -> None:
    """Prints one Markdown row for each world."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="kinds whose name contains this")
    arguments = parser.parse_args()
    for kind, rows in worlds().items():
        if arguments.only not in kind:
            continue
        print(f"\n| {kind} | seeds | covers | truth below | truth above | plain percentiles |\n|---|---|---|---|---|---|")
        with ProcessPoolExecutor(arguments.workers) as pool:
            table = list(pool.map(coverage, repeat(kind), range(len(rows)), repeat(arguments.experiments)))
        for world, found in zip(rows, table, strict=True):
            ours, plain = found["ours"], found["plain"]
            size = world.seeds if isinstance(world, Items) else world.runs
            print(f"| {world.name} | {size} | {' | '.join(f'{100 * share:.1f} %' for share in (*ours, plain[0]))} |", flush=True)


if __name__ == "__main__":
    main()
