"""Runs as reporting sees them: read once, quickly, whatever state they are in."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy
import orjson
from numpy.typing import NDArray

from bench import files, registry
from bench.errors import StoreError
from bench.metrics.base import RunMetric
from bench.record import Items
from bench.run_folder import CURVE, FIELDS, ITEMS, SAMPLES, TIMES, TIMING, check_whole, read_failure, read_items, read_summary
from bench.store import State, folders

MANY = 400  # runs from which on several processes read them
Column = NDArray[numpy.float64]


@dataclass(frozen=True)
class Trial:
    """One run: what it was asked to do, its curve by columns, and what went wrong, if anything did."""

    table: str
    algorithm: str
    run_id: str
    seed: int  # -1 where the folder is broken
    state: State
    folder: Path
    spec: Mapping[str, Any] = field(default_factory=dict)  # nothing where the folder is broken
    curve: Mapping[str, Column] = field(default_factory=dict)  # (records,) each, in order of step; NaN where absent
    provenance: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None  # diverged, error, memory or killed
    fault: str | None = None  # why it failed or is broken, in a sentence
    numbers: Mapping[str, float] = field(default_factory=dict)  # by name, of the metrics asked for that take one run; NaN: undefined

    @property
    def diverged(self) -> bool:
        """Whether training left the finite numbers, which ends a run as its budget does."""
        return self.failure == "diverged"

    def last(self, column: str) -> float:
        """The newest value of a column; NaN where there is none."""
        known = self.curve.get(column, numpy.empty(0))
        known = known[~numpy.isnan(known)]
        return float(known[-1]) if len(known) else math.nan

    def items(self) -> list[tuple[int, Items]]:
        """Step and held-out item scores of each evaluation; none for runs of versions that kept none. Raises StoreError."""
        return read_items(self.folder)

    def last_items(self) -> tuple[int, Items] | None:
        """Those of the newest evaluation alone, for readers of thousands of runs. Raises StoreError where they cannot be read."""
        lines = files.content(self.folder / ITEMS).rsplit(b"\n", 2)
        if len(lines) < 2 or not lines[-2]:
            return None
        try:
            held = orjson.loads(lines[-2])
            return held["step"], Items(held["key"], tuple(held["scores"]))
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.folder / ITEMS} has a last line that is not one of item scores; remove {self.folder} and run again"
            ) from error

    def samples(self) -> list[dict[str, Any]]:
        """The completions that were kept for reading. Raises StoreError for a corrupt file."""
        return files.lines(self.folder / SAMPLES)


def read(root: Path, columns: Collection[str] | None = None, workers: int = 0, metrics: Collection[str] = ()) -> list[Trial]:
    """Every run under a results folder, sorted by folder; those that cannot be read come as broken ones, with the reason.

    `columns`: those of the curve to keep, all of them by default; `budget` and `diverged` (0 or 1) are the same in every row.
    `workers`: processes to read with; 0: as many as there are cores, where there are many runs. `metrics`: names of metrics that take one
    run; they are worked out where the curve is read, so that columns only they need are not kept.
    """
    found = folders(root)
    one = partial(_trial, columns=None if columns is None else frozenset(columns), metrics=tuple(metrics))
    workers = workers or (len(os.sched_getaffinity(0)) if len(found) >= MANY else 1)
    if workers == 1:
        return [one(folder) for folder in found]
    with ProcessPoolExecutor(workers, get_context("forkserver"), gc.disable) as pool:  # what they make has no cycles, and they end soon
        return list(pool.map(one, found, chunksize=50))


def _trial(folder: Path, columns: frozenset[str] | None, metrics: tuple[str, ...] = ()) -> Trial:
    measures, wanted = _measures(metrics), columns if columns is None else columns | _needed(metrics)
    table, algorithm = folder.parts[-3:-1]
    try:
        held = orjson.loads((folder / "spec.json").read_bytes())
        if held["run_id"] != folder.name:
            raise StoreError(f"{folder} holds run {held['run_id']}: it was copied or renamed; give it that name or remove it")
        spec, provenance = held["spec"], {**held["provenance"], "resumed": held.get("resumed", [])}
        seed, budget = int(spec["seed"]), float(spec["budget"])
        curve = _curve(folder, wanted)
        check_whole(folder, len(curve["step"]))
    except (OSError, ValueError, KeyError, TypeError, StoreError) as error:
        reason = str(error) if isinstance(error, StoreError) else f"{folder / 'spec.json'} cannot be read ({error!r})"
        return Trial(table, algorithm, folder.name, -1, "broken", folder, fault=reason)
    failure, fault = read_failure(folder) or (None, None)
    ended: State = "finished" if read_summary(folder) is not None else "failed" if failure else "stopped"
    state: State = "running" if files.locked(folder) else ended
    rows = len(curve["step"])
    for name, value in (("budget", budget), ("diverged", float(failure == "diverged"))):
        if wanted is None or name in wanted:
            curve[name] = numpy.full(rows, value)
    numbers = {name: measure(curve) for name, measure in measures.items()}
    kept = curve if columns is None else {name: column for name, column in curve.items() if name in columns or name == "step"}
    return Trial(table, algorithm, folder.name, seed, state, folder, spec, kept, provenance, failure, fault, numbers)


@cache
def _measures(names: tuple[str, ...]) -> dict[str, RunMetric]:
    return {name: registry.load("metrics", name)() for name in names}


@cache
def _needed(names: tuple[str, ...]) -> frozenset[str]:
    """Columns that these metrics look at."""
    return frozenset(column for metric in _measures(names).values() for column in metric.columns())


def _curve(folder: Path, columns: frozenset[str] | None) -> dict[str, Column]:
    """The columns of a run's curve; `step` always. Raises StoreError for a corrupt file."""
    rows, times = _lines(folder / CURVE), {line.get("step"): line for line in _lines(folder / TIMING)}
    plain = [name for name in FIELDS if name not in TIMES and (columns is None or name in columns or name == "step")]
    curve = {name: _column([row.get(name) for row in rows]) for name in plain}
    for name in TIMES if columns is None else columns.intersection(TIMES):
        curve[name] = _column([times.get(row["step"], {}).get(name) for row in rows])
    probes = [row.get("probes", {}) for row in rows]
    known = set[str]().union(*probes)
    for name in sorted(known if columns is None else known & columns):
        curve[name] = _column([held.get(name) for held in probes])
    return curve


def _column(values: list[Any]) -> Column:
    return numpy.array(values, dtype=numpy.float64)  # None becomes NaN


def _lines(path: Path) -> list[dict[str, Any]]:
    """The same as `files.lines`, which tells what is wrong where something is; all lines in one go, which takes half the time."""
    whole, _, _ = files.content(path).rpartition(b"\n")
    try:
        rows: list[dict[str, Any]] = orjson.loads(b"[" + whole.replace(b"\n", b",") + b"]")
    except orjson.JSONDecodeError:
        return files.lines(path)
    return rows if len(rows) == (whole.count(b"\n") + 1 if whole else 0) else files.lines(path)
