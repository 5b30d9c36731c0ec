"""The leaderboard of one board: who is better than whom as far as the runs tell, and what else is known of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy

from bench.board.facts import Fact, facts
from bench.board.groups import Board, Entry
from bench.board.hashing import row_hash
from bench.board.pairs import Pair, pair, single
from bench.board.scores import Scores, scores
from bench.errors import StoreError
from bench.stats.intervals import Interval
from bench.stats.power import smallest_difference
from bench.stats.ranks import Rank, holm, ranks
from bench.trials import Trial

CONTROLS = ("untrained", "random_reward", "format_reward", "shuffled_advantage", "sft_on_correct", "bc")
ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Row:
    """One competitor."""

    label: str
    algorithm: str
    key: str  # of its specification without the seed
    control: bool  # there to be beaten
    seeds: tuple[int, ...]
    diverged: tuple[int, ...]  # those of the seeds that left the finite numbers
    score: Interval  # of the final held-out score; bounds are NaN and `note` says why where they are not known
    lacking: str  # why its held-out items are not known, in a few words; empty where they are
    rank: Rank | None  # None: nothing can be claimed
    ties: tuple[str, ...]  # labels of entries that it cannot be told from
    facts: dict[str, Fact]
    hash: str  # of its runs' curves and item scores


class Tested(NamedTuple):
    """A comparison of two rows, by their labels; the p value is made good for all comparisons of the board."""

    first: str
    second: str
    pair: Pair
    p: float


@dataclass(frozen=True)
class Table:
    """A leaderboard."""

    board: Board
    rows: tuple[Row, ...]  # best rank first; those without a rank last, by score
    tests: tuple[Tested, ...]  # every pair of ranked rows
    left_out: tuple[tuple[Trial, str], ...]  # runs that do not count, each with the reason
    empty: tuple[str, ...]  # labels of which no run counts

    @cached_property
    def items(self) -> int:
        """Held-out items that all pairs are paired by; 0 where some pair is compared by seed alone."""
        return min((test.pair.items for test in self.tests), default=0)

    @cached_property
    def smallest(self) -> float:
        """The smallest true difference that a pair with the middle one of all standard errors shows in four of five experiments, at the
        level of Holm's first step; NaN without pairs."""
        known = sorted((test.pair.estimate for test in self.tests if test.pair.estimate.error), key=lambda estimate: estimate.error)
        return smallest_difference(known[len(known) // 2], POWER, ALPHA / len(self.tests)) if known else math.nan

    def row(self, label: str) -> Row:
        """Raises KeyError for an unknown label."""
        return next(row for row in self.rows if row.label == label)


def leaderboard(board: Board) -> Table:
    """Ranks are 1 + the number of entries that are significantly better, over all pairs of entries with two seeds or more (Holm)."""
    entries = [entry for entry in board.entries if entry.trials]
    known = {entry.label: scores(entry, board.scaled) for entry in entries}
    ranked = [entry.label for entry in entries if known[entry.label].defined and len(entry.trials) > 1]
    tests = _tests(ranked, known)
    places = _ranks(ranked, known, tests)
    made = [_row(entry, known[entry.label], places.get(entry.label), tests, board) for entry in entries]
    made.sort(key=lambda row: (row.rank.low if row.rank else math.inf, -_or_least(row.score.value), row.label))
    return assembled(board, tuple(made), tests)


def assembled(board: Board, rows: tuple[Row, ...], tests: tuple[Tested, ...]) -> Table:
    """The leaderboard of these rows and comparisons, which may come from another process, with what does not count beside them."""
    left_out = [(trial, reason(trial)) for entry in board.entries for trial in entry.left_out]
    left_out += [(trial, reason(trial)) for trial in board.broken]
    return Table(board, rows, tests, tuple(left_out), tuple(entry.label for entry in board.entries if not entry.trials))


def reason(trial: Trial) -> str:
    """Why a run does not count, in words."""
    if trial.state in ("running", "stopped"):
        return "still running" if trial.state == "running" else "stopped before its end"
    kind = f"failed ({trial.failure})" if trial.state == "failed" else "broken"
    return f"{kind}: {trial.fault}" if trial.fault else kind


def groups(table: Table) -> list[tuple[str, ...]]:
    """The largest sets of rows in which no two can be told apart, by rank; no single rows. They may overlap: a tie is not transitive."""
    order = [row.label for row in table.rows if row.rank]
    tied = {row.label: set(row.ties) for row in table.rows}
    found: list[tuple[str, ...]] = []

    def grow(held: list[str], open_: list[str], shut: list[str]) -> None:
        """Bron and Kerbosch 1973, Communications of the ACM 16."""
        if not open_ and not shut and len(held) > 1:
            found.append(tuple(held))
        for i, one in enumerate(open_):
            grow([*held, one], [x for x in open_[i + 1 :] if x in tied[one]], [x for x in [*shut, *open_[:i]] if x in tied[one]])

    grow([], order, [])
    return sorted(found, key=lambda group: [order.index(label) for label in group])


def _tests(ranked: Sequence[str], known: dict[str, Scores]) -> tuple[Tested, ...]:
    names = [(a, b) for i, a in enumerate(ranked) for b in ranked[i + 1 :]]
    pairs = [pair(known[a], known[b]) for a, b in names]
    corrected = holm([one.p for one in pairs])
    return tuple(Tested(a, b, one, float(p)) for (a, b), one, p in zip(names, pairs, corrected, strict=True))


def _ranks(ranked: Sequence[str], known: dict[str, Scores], tests: Sequence[Tested]) -> dict[str, Rank]:
    if len(ranked) < 2:
        return {}
    p = numpy.full((len(ranked), len(ranked)), math.nan)
    for test in tests:
        p[ranked.index(test.first), ranked.index(test.second)] = test.pair.p
    return dict(zip(ranked, ranks([known[label].mean for label in ranked], p, ALPHA), strict=True))


def _row(entry: Entry, known: Scores, rank: Rank | None, tests: Sequence[Tested], board: Board) -> Row:
    shares = (
        board.scaled and board.protocol["tier"] != "control" and 0 <= known.mean <= 1
    )  # of right answers; returns may leave their scale
    ties = tuple(
        test.second if test.first == entry.label else test.first
        for test in tests
        if entry.label in (test.first, test.second) and not test.p < ALPHA
    )
    try:
        digits = row_hash(entry.trials)
    except StoreError:
        digits = ""
    return Row(
        label=entry.label,
        algorithm=entry.algorithm,
        key=entry.key,
        control=entry.algorithm in CONTROLS,
        seeds=entry.seeds,
        diverged=tuple(trial.seed for trial in entry.trials if trial.diverged),
        score=single(known).interval(1 - ALPHA, (0.0, 1.0) if shares else None),
        lacking=known.lacking,
        rank=rank,
        ties=ties,
        facts=facts(entry, board.scaled),
        hash=digits,
    )


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value
