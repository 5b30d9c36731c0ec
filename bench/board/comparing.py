"""Two algorithms on every table that both are on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy

from bench import registry
from bench.board.facts import Fact, facts
from bench.board.groups import Board, Entry
from bench.board.leaderboard import ALPHA, POWER
from bench.board.pairs import Pair, pair
from bench.board.scores import Scores, scores
from bench.errors import ConfigError, unknown
from bench.metrics.base import RunMetric
from bench.stats.intervals import Interval
from bench.stats.power import seeds_needed, smallest_difference
from bench.stats.ranks import holm
from bench.stats.shares import improvement_interval

SCORE = "eval_score"


@dataclass(frozen=True)
class Comparison:
    """The first entry less the second on one board, in the metric's unit."""

    board: Board
    entries: tuple[Entry, Entry]
    scores: tuple[Scores, Scores]
    metric: str
    lower: bool  # whether less is better
    pair: Pair
    p: float  # made good for all tables that were compared; NaN where nothing can be tested
    tables: int  # how many were

    @property
    def decided(self) -> bool:
        """Whether one is better as far as these runs tell."""
        return self.p < ALPHA

    @cached_property
    def smallest(self) -> float:
        """The smallest true difference shown in four of five such experiments; NaN where the spread is unknown, or none was seen."""
        return math.nan if not self.pair.estimate.error else smallest_difference(self.pair.estimate, POWER, ALPHA / self.tables)

    @cached_property
    def needed(self) -> int | None:
        """Seeds of each that would show a true difference as large as the one that was seen; None where no number would."""
        return seeds_needed(self.pair.estimate.value, self.pair.estimate, POWER, ALPHA / self.tables)

    @cached_property
    def improvement(self) -> Interval | None:
        """How often a run of the first is better than a run of the second; None where a seed has no value."""
        return improved([self])

    @cached_property
    def facts(self) -> tuple[dict[str, Fact], dict[str, Fact]]:
        """What else is known of both: no test stands behind it."""
        first, second = (facts(entry, self.board.scaled) for entry in self.entries)
        return first, second


def columns(metric: str) -> tuple[str, ...]:
    """What a curve must have for it. Raises ConfigError for a metric that is unknown or no run has by itself."""
    return () if metric == SCORE else _metric(metric).columns()


def compare(boards: Sequence[Board], first: str, second: str, table: str = "", metric: str = SCORE) -> list[Comparison]:
    """On every board that both are on, or on those of one table.

    Raises ConfigError for labels, tables and metrics that are unknown, and where the two never meet.
    """
    chosen = [board for board in boards if table in ("", board.table, board.name)]
    if not chosen:
        raise unknown("table", table, {board.table for board in boards})
    for name in (first, second):
        if not any(board.entry(name) for board in chosen):
            raise unknown("label" + (f" on {table}" if table else ""), name, _labels(chosen))
    if first == second:
        raise ConfigError(f"{first} is compared with itself; give two labels of {', '.join(sorted(_labels(chosen)))}")
    met = [
        (board, a, b)
        for board in chosen
        if (a := board.entry(first)) and (b := board.entry(second)) and a.trials and b.trials and a is not b
    ]
    if not met:
        where = {name: ", ".join(board.name for board in chosen if board.entry(name)) for name in (first, second)}
        raise ConfigError(
            f"{first} and {second} are on no board together with finished runs: {first} on {where[first]}; {second} on {where[second]}"
        )
    lower = metric != SCORE and _metric(metric).better == "lower"
    known = [(board, (a, b), (values(a, board, metric), values(b, board, metric))) for board, a, b in met]
    pairs = [pair(*held) for _, _, held in known]
    corrected = holm([one.p for one in pairs])
    count = sum(not math.isnan(p) for p in corrected)
    return [
        Comparison(board, entries, held, metric, lower, one, float(p), max(count, 1))
        for (board, entries, held), one, p in zip(known, pairs, corrected, strict=True)
    ]


def values(entry: Entry, board: Board, metric: str = SCORE) -> Scores:
    """The final score of each seed with its items; or another metric of each, which a run that diverged has not."""
    if metric == SCORE:
        return scores(entry, board.scaled)
    measure = _metric(metric)
    found = numpy.array([math.nan if trial.diverged else measure(trial.curve) for trial in entry.trials], dtype=numpy.float64)
    return Scores(entry.seeds, found, None, "", f"{metric} is one number a run")


def improved(comparisons: Sequence[Comparison]) -> Interval | None:
    """How often a run of the first beats one of the second on the same table, over all tables; None where a seed has no value."""
    held = [one for one in comparisons if all(known.defined for known in one.scores)]
    if len(held) < len(comparisons):
        return None
    sign = -1.0 if comparisons[0].lower else 1.0
    first, second = ([sign * one.scores[i].values for one in held] for i in (0, 1))
    return improvement_interval(first, second, 1 - ALPHA)


def _labels(boards: Sequence[Board]) -> set[str]:
    return {name for board in boards for entry in board.entries for name in (entry.label, entry.algorithm) if board.entry(name)}


@cache
def _metric(name: str) -> RunMetric:
    names = registry.names("metrics")
    kind = registry.load("metrics", name) if name in names else None
    if kind is None or kind.scope != "run":
        raise unknown("metric of a run", name, [SCORE, *(one for one in names if registry.load("metrics", one).scope == "run")])
    metric: RunMetric = kind()
    return metric
