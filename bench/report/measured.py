"""Every metric of every entry: one that takes a run as the mean over the seeds that have it, one that takes all seeds as it is."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy

from bench import registry
from bench.board.groups import Board, Entry
from bench.metrics.base import Metric
from bench.report.data import Report


@dataclass(frozen=True)
class Measured:
    """One metric on one board."""

    name: str
    about: str
    better: str  # higher or lower
    scope: str  # run or seeds
    values: Mapping[str, tuple[float, int]]  # by key of the entry: the number, NaN where undefined, and how many seeds have it


@cache
def metrics() -> dict[str, Metric]:
    """Every metric that can be loaded, by name."""
    return {entry.name: registry.load("metrics", entry.name)() for entry in registry.listing("metrics") if entry.error is None}


def for_runs() -> tuple[str, ...]:
    """Names of those that take one run."""
    return tuple(name for name, metric in metrics().items() if metric.scope == "run")


def columns() -> frozenset[str]:
    """What those that take all seeds look at."""
    return frozenset(column for metric in metrics().values() if metric.scope == "seeds" for column in metric.columns())


def measured(report: Report, board: Board) -> list[Measured]:
    """The metrics that any entry of the board has a number for."""
    return report.kept(("measured", board.name), lambda: [one for name, metric in metrics().items() if (one := _one(name, metric, board))])


def _one(name: str, metric: Metric, board: Board) -> Measured | None:
    entries = [entry for entry in board.entries if entry.trials]
    values = {entry.key: _mean(name, entry) if metric.scope == "run" else _whole(metric, entry) for entry in entries}
    if all(math.isnan(value) for value, _ in values.values()):
        return None
    about = (inspect.getdoc(type(metric)) or "").partition("\n")[0]
    return Measured(name, about, metric.better, metric.scope, values)


def _mean(name: str, entry: Entry) -> tuple[float, int]:
    """Of the seeds that did not diverge: a curve that was cut short says something else."""
    known = [value for trial in entry.trials if not trial.diverged and not math.isnan(value := trial.numbers.get(name, math.nan))]
    return (float(numpy.mean(known)), len(known)) if known else (math.nan, 0)


def _whole(metric: Metric, entry: Entry) -> tuple[float, int]:
    return float(metric([trial.curve for trial in entry.trials])), len(entry.trials)
