"""One number for each algorithm over several boards, where scores mean the same on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy

from bench.board.groups import Board
from bench.board.leaderboard import ALPHA, CONTROLS
from bench.board.scores import FloatArray, finals
from bench.stats.aggregate import iqm, mean, optimality_gap
from bench.stats.bootstrap import bootstrap
from bench.stats.intervals import Interval
from bench.stats.standard_error import Statistic

MOST = 12  # tables of a kind up to which every choice of them is looked at
SAMPLES = 10_000
KINDS = {"tiny": "text, tiny tier", "full": "text, full tier", "control": "Gymnasium", "log": "fixed logs"}


@dataclass(frozen=True)
class Overall:
    """An algorithm over all boards of its kind."""

    label: str
    control: bool
    runs: int
    iqm: Interval
    mean: Interval
    gap: Interval  # how far runs fall short of 1


@dataclass(frozen=True)
class Aggregate:
    """Algorithms over the same boards."""

    kind: str
    boards: tuple[str, ...]  # names of those that count
    rows: tuple[Overall, ...]  # best IQM first
    left_out: tuple[str, ...]  # what does not count, and why: sentences


def aggregates(boards: Sequence[Board]) -> list[Aggregate]:
    """For each kind with two scaled boards or more, the entries that have two runs on each of them.

    Where no choice holds everything, the boards are taken that give the most entries times boards.
    """
    found = []
    for kind, title in KINDS.items():
        left_out: list[str] = []
        held = _one_a_table([board for board in boards if _kind(board) == kind], left_out)
        usable = {board.name: _usable(board) for board in held}
        chosen = _chosen(usable)
        if len(chosen) < 2:
            continue
        labels = sorted(set.intersection(*(set(usable[name]) for name in chosen)))
        left_out += [f"{name}: too few algorithms have runs there" for name in usable if name not in chosen]
        left_out += _missing([board for board in held if board.name in chosen], usable, labels)
        rows = [_overall(label, [usable[name][label] for name in chosen], kind) for label in labels]
        rows.sort(key=lambda row: (-row.iqm.value, row.label))
        found.append(Aggregate(title, tuple(chosen), tuple(rows), tuple(left_out)))
    return found


def _kind(board: Board) -> str:
    """Empty for boards whose scores have no common scale."""
    if not board.scaled:
        return ""
    tier = str(board.protocol["tier"])
    return "log" if tier == "control" and board.protocol["sampler"] == "log" else tier


def _one_a_table(boards: Sequence[Board], left_out: list[str]) -> list[Board]:
    """A task counts once: of several protocols, the one with the most runs."""
    best: dict[str, Board] = {}
    for board in sorted(boards, key=lambda one: (-sum(len(entry.trials) for entry in one.entries), one.name)):
        if board.table in best:
            left_out.append(f"{board.name}: {best[board.table].name} has more runs, and a task counts once")
        best.setdefault(board.table, board)
    return sorted(best.values(), key=lambda board: board.name)


def _usable(board: Board) -> dict[str, FloatArray]:
    """The (S,) scores of each entry with two seeds or more."""
    known = {entry.label: finals(entry, board.scaled) for entry in board.entries if len(entry.trials) > 1}
    return {label: values for label, values in known.items() if not numpy.isnan(values).any()}


def _chosen(usable: dict[str, dict[str, FloatArray]]) -> list[str]:
    names, best, most = list(usable)[:MOST], list[str](), 0
    for size in range(len(names), 1, -1):
        for choice in combinations(names, size):
            shared = set.intersection(*(set(usable[name]) for name in choice))
            if len(shared) > 1 and size * len(shared) > most:
                best, most = list(choice), size * len(shared)
    return best


def _missing(boards: Sequence[Board], usable: dict[str, dict[str, FloatArray]], labels: Sequence[str]) -> list[str]:
    """The entries with runs on some of the boards that are not among `labels`, each with where it lacks them."""
    known = sorted({entry.label for board in boards for entry in board.entries if entry.trials} - set(labels))
    lacking: dict[str, list[str]] = {}
    for label in known:
        where = ", ".join(board.name for board in boards if label not in usable[board.name])
        lacking.setdefault(where, []).append(label)
    return [f"{', '.join(labels)}: fewer than two seeds on {where}" for where, labels in lacking.items()]


def _overall(label: str, held: list[FloatArray], kind: str) -> Overall:
    shares = kind in ("tiny", "full") and all(bool(((task >= 0) & (task <= 1)).all()) for task in held)  # returns may leave their scale

    def interval(statistic: Statistic) -> Interval:
        rng = numpy.random.default_rng([*f"aggregate:{kind}:{label}:{statistic.__name__}".encode()])
        return bootstrap(held, statistic, rng, SAMPLES, 1 - ALPHA, within=(0.0, 1.0) if shares else None)

    runs = sum(len(task) for task in held)
    return Overall(label, label.partition(" ")[0] in CONTROLS, runs, interval(iqm), interval(mean), interval(optimality_gap))
