"""What the pictures and the page share: boards, and curves over the seeds of each entry. Computed once, when first asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy
from numpy.typing import NDArray

from bench import trials
from bench.board.aggregates import Aggregate, aggregates
from bench.board.groups import Board, Entry, boards
from bench.board.leaderboard import Table, leaderboard
from bench.report.grids import grid_of, thinned
from bench.report.palette import Look, looks
from bench.stats.aggregate import mean
from bench.stats.intervals import student_band
from bench.trials import Trial

Array = NDArray[numpy.float64]
Found = TypeVar("Found")

AXES = ("samples", "tokens", "verifier_calls", "updates", "cpu_seconds", "seconds")  # what a curve may be drawn against
SCORE = ("eval_score",)
ENTROPY = ("entropy/token", "entropy/policy")
GATE = ("gate",)
KL_OLD = ("kl_old/k3",)
KL_REF = ("kl_ref/k1",)
COLUMNS = ("eval/return", *AXES, *SCORE, "train_score", *ENTROPY, *GATE, *KL_OLD, *KL_REF)


@dataclass(frozen=True)
class Band:
    """A curve over the seeds of one entry: their mean, and an interval of it; (G,) each. NaN where nothing is known."""

    x: Array
    value: Array
    low: Array
    high: Array
    runs: int  # seeds that had this column

    @property
    def last(self) -> float:
        """The value at the end, once every seed has spent its budget."""
        return float(self.value[-1])


@dataclass(frozen=True)
class Group:
    """Entries with runs on each of several boards whose scores mean the same, or on one."""

    title: str
    scores: Mapping[str, list[Array]]  # by label: the (seeds,) scores on each board, in the same order
    looks: Mapping[str, Look]

    def mean(self, label: str) -> float:
        """Over boards, of the means over seeds."""
        return float(mean(self.scores[label]))


@dataclass(frozen=True)
class Report:
    """The boards of a results folder, with what is worked out from them on demand and kept."""

    boards: tuple[Board, ...]
    level: float = 0.95  # of intervals
    resamples: int = 2000
    memory: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, root: Path, columns: Iterable[str] | None = COLUMNS, workers: int = 0, **settings: Any) -> Report:
        """Of every run under a results folder. `columns`: those of the curves to keep; None: all."""
        return cls.of(trials.read(root, None if columns is None else list(columns), workers), **settings)

    @classmethod
    def of(cls, found: Sequence[Trial], **settings: Any) -> Report:
        return cls(tuple(boards(found)), **settings)

    def only(self, tables: Sequence[str] = (), algorithms: Sequence[str] = ()) -> Report:
        """The part with these tables and these algorithms or labels; all where none are named."""
        kept = []
        for board in self.boards:
            entries = [entry for entry in board.entries if not algorithms or {entry.label, entry.algorithm} & set(algorithms)]
            if entries and (not tables or {board.table, board.name} & set(tables)):
                kept.append(replace(board, entries=tuple(entries)))
        return replace(self, boards=tuple(kept), memory={})

    def kept(self, key: tuple[Any, ...], make: Callable[[], Found]) -> Found:
        """What `make` gave the first time this key was asked for."""
        if key not in self.memory:
            self.memory[key] = make()
        found: Found = self.memory[key]
        return found

    def scores(self, board: Board) -> Mapping[str, Array]:
        """(seeds,) final held-out score of each entry, by label; entries without a counted run are left out."""
        return self.kept(("scores", board.name), lambda: {e.label: _finals(board, e) for e in board.entries if e.trials})

    def ordered(self, board: Board) -> list[Entry]:
        """Entries that have a counted run, best mean score first."""
        scores = self.scores(board)
        means = {label: float(values.mean()) for label, values in scores.items()}  # NaN, put last, where a seed has no score
        known = [entry for entry in board.entries if entry.label in means]
        return sorted(known, key=lambda e: (math.isnan(means[e.label]), -means[e.label], e.label))

    def leaderboard(self, board: Board) -> Table:
        return self.kept(("leaderboard", board.name), lambda: leaderboard(board))

    def aggregates(self) -> list[Aggregate]:
        """Of each kind of boards; none of a kind with fewer than two scaled boards."""
        return self.kept(("aggregates",), lambda: aggregates(self.boards))

    def groups(self, board: Board | None = None) -> list[Group]:
        """What may be put together: each kind's boards as in `aggregates`, and each scaled board that is in none of those.

        `board`: of this one alone. Entries without a score of every seed are left out, and groups with fewer than two entries.
        """
        many = [] if board else self.aggregates()
        of = [(f"{one.kind}: {', '.join(one.boards)}", [b for b in self.boards if b.name in one.boards]) for one in many]
        joined = {name for one in many for name in one.boards}
        of += [(b.name, [b]) for b in ([board] if board else self.boards) if b.scaled and b.name not in joined]
        found = [_group(title, held, [self.scores(b) for b in held]) for title, held in of]
        return [group for group in found if len(group.scores) > 1]

    def axes(self, board: Board) -> list[str]:
        """The axes that mean something on this board and are not another one under a second name."""
        held = [trial.curve for entry in board.entries for trial in entry.trials]
        other = () if board.unit == "samples" else ("tokens", "verifier_calls")  # the same as samples there, and none
        return [axis for axis in AXES if axis not in other and any((curve[axis] > 0).any() for curve in held if axis in curve)]

    def score_text(self, board: Board) -> str:
        """What a score is on this board, in a few words."""
        if board.protocol["tier"] != "control":
            return "mean verdict on held-out problems"
        return "0: random actions, 1: known to be reached" if board.scaled else "mean return of an episode"

    def learning(self, board: Board, entry: Entry, axis: str = "samples") -> Band | None:
        """Held-out score against what was spent; a run that ended keeps its last score, and one that diverged has the floor's from there.

        The last value is the mean of the entry's `scores`. None where no run has a score on this axis.
        """
        return self.curve(board, entry, SCORE, axis)

    def curve(self, board: Board, entry: Entry, columns: Sequence[str], axis: str = "samples") -> Band | None:
        """The first of these columns that the entry's runs have, against an axis; None where none does."""
        key = ("curve", board.name, entry.key, tuple(columns), axis)
        return self.kept(key, lambda: self._curve(board, entry, columns, axis))

    def counted(self, board: Board) -> str:
        """How many seeds the entries have, and what the intervals are, in words."""
        counts = sorted({len(entry.trials) for entry in board.entries if entry.trials})
        seeds = f"{counts[0]} seed{'s' * (counts[0] != 1)}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]} seeds"
        return f"mean of {seeds}, {100 * self.level:g}% interval" if counts[-1] > 1 else seeds

    def _curve(self, board: Board, entry: Entry, columns: Sequence[str], axis: str) -> Band | None:
        for column in columns:
            found = [_points(trial, column, axis, board.scaled) for trial in entry.trials]
            lines = [line for line in found if line is not None]
            if lines:
                lost = [trial.diverged for trial, line in zip(entry.trials, found, strict=True) if line is not None]
                return _scores(lines, lost, board.scaled, self.level) if column in SCORE else _probes(lines, lost, self.level)
        return None


Points = tuple[Array, Array]  # places and values of one seed


def _scores(lines: Sequence[Points], lost: Sequence[bool], scaled: bool, level: float) -> Band | None:
    """From where all seeds have begun to where the last one ends. The others keep their last score; one that was lost has none on a board
    without a scale."""
    grid = grid_of([x for x, _ in lines])
    afterwards = [numpy.nan if gone and not scaled else y[-1] for (_, y), gone in zip(lines, lost, strict=True)]
    return _band(lines, afterwards, grid[grid >= max(x[0] for x, _ in lines)], level)


def _probes(lines: Sequence[Points], lost: Sequence[bool], level: float) -> Band | None:
    """From where all seeds have begun to where the first one ends, of those that were not lost on the way."""
    grid = grid_of([x for x, _ in lines])
    ends = [x[-1] for (x, _), gone in zip(lines, lost, strict=True) if not gone] or [grid[-1]]
    return _band(lines, [numpy.nan] * len(lines), grid[(grid >= max(x[0] for x, _ in lines)) & (grid <= min(ends))], level)


def _band(lines: Sequence[Points], afterwards: Sequence[float], grid: Array, level: float) -> Band | None:
    """Over the seeds, along straight lines between their values. None where the grid has no place at which one is known."""
    each = numpy.array([numpy.interp(grid, x, y, right=right) for (x, y), right in zip(lines, afterwards, strict=True)])
    known = ~numpy.isnan(each).all(0)
    low, value, high = seed_band(each[:, known], level)
    return Band(grid[known], value, low, high, len(each)) if known.any() else None


def seed_band(each: Array, level: float) -> tuple[Array, Array, Array]:
    """Low, mean and high, (G,) each, at each point over the seeds known there; bounds are NaN where that is one. `each`: (seeds, G)."""
    known = ~numpy.isnan(each)
    patterns, which = numpy.unique(known, axis=1, return_inverse=True)
    found = numpy.full((3, each.shape[1]), numpy.nan)
    for number, pattern in enumerate(patterns.T):
        here = which.ravel() == number
        found[:, here] = student_band(each[numpy.ix_(pattern, here)], level)
    return found[0], found[1], found[2]


def _group(title: str, held: Sequence[Board], scores: Sequence[Mapping[str, Array]]) -> Group:
    known = [{label: values for label, values in one.items() if not numpy.isnan(values).any()} for one in scores]
    shared = [entry for entry in held[0].entries if all(entry.label in one for one in known)]
    own = looks([(entry.label, entry.algorithm) for entry in shared])
    return Group(title, {entry.label: [one[entry.label] for one in known] for entry in shared}, own)


def _finals(board: Board, entry: Entry) -> Array:
    """As in `bench.board.scores`, without a look at the items."""
    floor = 0.0 if board.scaled else math.nan
    return numpy.array([floor if trial.diverged else trial.last("eval_score") for trial in entry.trials])


def _points(trial: Trial, column: str, axis: str, scaled: bool) -> tuple[Array, Array] | None:
    """Where a run has both, in order and each place once; a diverged run's score falls to the floor where its record ends."""
    if column not in trial.curve or axis not in trial.curve:
        return None
    x, y = trial.curve[axis], trial.curve[column]
    known = ~(numpy.isnan(x) | numpy.isnan(y))
    if not known.any():
        return None
    x, y, end = x[known], y[known], x[~numpy.isnan(x)][-1]
    if trial.diverged and column in SCORE and scaled:
        x, y = numpy.append(x, [end, numpy.nextafter(end, numpy.inf)]), numpy.append(y, [y[-1], 0.0])
    if column not in SCORE:
        x, y = thinned(x), thinned(y)
    last = numpy.append(x[1:] > x[:-1], True)
    return (x, y) if last.all() else (x[last], y[last])
