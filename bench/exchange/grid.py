"""What other libraries' statistics take: equally many runs of every algorithm on every task, each evaluated equally often."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.board.groups import Board
from bench.errors import ConfigError
from bench.trials import Trial


@dataclass(frozen=True)
class Evaluated:
    """The evaluations of one run, in order."""

    seed: int
    samples: tuple[float, ...]  # spent at each, in the unit of the budget
    scores: tuple[float, ...]
    items: tuple[tuple[float, ...], ...] = ()  # the score of each held-out item; nothing where a run kept none


Runs = dict[str, dict[str, list[Evaluated]]]  # by task, by algorithm, by seed


@dataclass(frozen=True)
class Grid:
    """Every task (a board) with the runs of every algorithm on it."""

    tasks: dict[str, Board]
    runs: Runs
    notes: list[str] = field(default_factory=list)

    @property
    def algorithms(self) -> list[str]:
        return sorted({name for held in self.runs.values() for name in held})


def grid(boards: Sequence[Board], common: bool, alike: bool) -> Grid:
    """The runs that count, with the scores they count with: a diverged run has 0 from there on, where that means the same on every board.

    `alike`: all algorithms must have equally many runs, and not only each of them on all tasks. `common`: keep what all have, and say what
    goes, in place of raising. Raises ConfigError, naming what is missing, where there is no such grid.
    """
    tasks = {board.name: board for board in boards if board.entries}
    found = Grid(tasks, {name: {} for name in tasks})
    for name, board in tasks.items():
        for entry in board.entries:
            each = {trial.seed: _evaluated(trial, board) for trial in entry.trials}
            without = [str(seed) for seed, run in each.items() if run is None]
            if without:
                found.notes.append(f"left out: {entry.label} on {name}, seed {', '.join(without)}: no score")
            if len(without) < len(each):
                found.runs[name][entry.label] = [run for run in each.values() if run is not None]
    if not found.algorithms:
        raise ConfigError("no finished run with a score is among those chosen; `bench ls runs` shows what there is")
    _check_tasks(found, common)
    _check_seeds(found, common, alike)
    return found


def _times(trial: Trial) -> list[int]:
    """The records with an evaluation."""
    return [i for i, value in enumerate(trial.curve["eval_score"]) if not math.isnan(value)]


def _evaluated(trial: Trial, board: Board) -> Evaluated | None:
    """None for a run without a score: it was never evaluated, or diverged where nothing says what that is worth."""
    times = _times(trial)
    score, samples = ([float(trial.curve[name][i]) for i in times] for name in ("eval_score", "samples"))
    if trial.diverged:
        if not board.scaled:
            return None
        others = [len(_times(other)) for entry in board.entries for other in entry.trials if not other.diverged]
        lost = max([1, *(count - len(times) for count in others)])
        return Evaluated(trial.seed, (*samples, *[float(trial.spec["budget"])] * lost), (*score, *[0.0] * lost))
    if not times:
        return None
    kept, steps = dict(trial.items()), [int(trial.curve["step"][i]) for i in times]
    items = tuple(kept[step].scores for step in steps) if all(step in kept for step in steps) else ()
    return Evaluated(trial.seed, tuple(samples), tuple(score), items)


def _check_tasks(found: Grid, common: bool) -> None:
    """Each algorithm on each task; with `common`, algorithms that lack one go."""
    missing = {label: [task for task, held in found.runs.items() if label not in held] for label in found.algorithms}
    missing = {label: tasks for label, tasks in missing.items() if tasks}
    said = "; ".join(f"{label} has no run on {', '.join(tasks)}" for label, tasks in sorted(missing.items()))
    if missing and (not common or len(missing) == len(found.algorithms)):
        raise ConfigError(f"{said}; run what is missing, choose fewer by --table or --algo, or leave such algorithms out by --common")
    for label in missing:
        for held in found.runs.values():
            held.pop(label, None)
    if missing:
        found.notes.append(f"left out: {said}")


def _check_seeds(found: Grid, common: bool, alike: bool) -> None:
    """Equally many runs; with `common`, the first ones by seed stay."""
    counts = {(label, task): len(runs) for task, held in found.runs.items() for label, runs in held.items()}
    for label in found.algorithms:
        own = {key: count for key, count in counts.items() if alike or key[0] == label}
        least = min(own.values())
        if max(own.values()) == least:
            continue
        said = ", ".join(f"{name} on {task}: {count}" for (name, task), count in sorted(own.items()))
        if not common:
            raise ConfigError(f"not the same number of seeds ({said}); run what is missing, or keep the first {least} of each by --common")
        for held in found.runs.values():
            for name in held if alike else [label]:
                held[name] = held[name][:least]
        found.notes.append(f"the first {least} seeds of each are kept ({said})")
        if alike:
            return
