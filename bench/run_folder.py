"""One run's folder, open for writing: its logs, its checkpoints, its end."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from bench import checkpoint as checkpoints
from bench import files
from bench.checkpoint import Checkpoint
from bench.config import RunSpec
from bench.errors import StoreError
from bench.record import Items, Record

if TYPE_CHECKING:
    from torch import Tensor

CURVE, TIMING, SAMPLES, ITEMS = "curve.jsonl", "timing.jsonl", "samples.jsonl", "items.jsonl"
DONE, FAILED = "done.json", "failed.json"
LOGS = (SAMPLES, ITEMS, TIMING, CURVE)  # in writing order: a line of the curve implies that its companions are there
TIMES = ("seconds", "cpu_seconds")
Failure = Literal["diverged", "error", "memory", "killed"]
FIELDS = tuple(field.name for field in dataclasses.fields(Record) if field.name not in ("probes", "items"))
COLUMNS = ("table", "algorithm", "run_id", "seed", *FIELDS)


class RunFolder:
    """A run open for writing, under an exclusive lock. The order of a run: open, latest, rewind, then append and checkpoint, finish.

    Every method that writes raises StoreError where the disk refuses.
    """

    def __init__(self, path: Path, spec: RunSpec, lock: files.Lock) -> None:
        self.path, self.spec = path, spec
        self.warnings: list[str] = []  # for the caller to show
        self._lock = lock
        self._last: int | None = None  # step of the last record, once known

    @property
    def finished(self) -> bool:
        return read_summary(self.path) is not None

    def append(self, record: Record, samples: list[dict[str, Any]] | None = None) -> None:
        """Adds a record and the completions worth keeping.

        Raises ValueError, before anything is written, for a value that is not finite and for a step that is not after the last one.
        """
        if self._last is None:
            known = self.records()
            self._last = known[-1].step if known else -1
        if record.step <= self._last:
            raise ValueError(f"step {record.step} does not come after step {self._last}, the last one of {self.path / CURVE}")
        curve, timing = _split(record)
        texts = {SAMPLES: "".join(files.canonical({"step": record.step, **sample}) + "\n" for sample in samples or [])}
        texts |= {ITEMS: "" if record.items is None else files.canonical({"step": record.step, **asdict(record.items)}) + "\n"}
        texts |= {TIMING: files.canonical(timing) + "\n", CURVE: files.canonical(curve) + "\n"}
        for name in LOGS:
            with files.guarded(self.path / name):
                files.append(self.path / name, texts[name])
        self._last = record.step

    def checkpoint(self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: dict[str, Any], *, alone: bool = True) -> None:
        """Saves what the run needs to go on after `step`: named groups of tensors (`model` becomes model.safetensors) and JSON state.

        Older checkpoints go only once this one is on the disk, together with the log lines that it covers; they stay where it is not to
        be `alone`, for `keep_checkpoint` to remove.
        """
        with files.guarded(self.path / "checkpoint"):
            covers = self._sync_logs()
            checkpoints.save(self.path / "checkpoint", step, tensors, state, covers, alone)

    def keep(self, name: str, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> None:
        """Saves what a run makes once and needs to its end, as completely or not at all as a checkpoint."""
        with files.guarded(self.path / name):
            checkpoints.save(self.path / name, 0, {"model": tensors}, facts, {})

    def kept(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `keep` saved; None where it never came to its end, and, with a line in `warnings`, where it is damaged."""
        with files.guarded(self.path / name):
            found, warnings = checkpoints.latest(self.path / name, "it is made again")
        self.warnings += warnings
        return None if found is None else (found.tensors("model"), found.state)

    def checkpoints(self) -> list[int]:
        """The steps that were saved, complete or not."""
        return checkpoints.steps(self.path / "checkpoint")

    def keep_checkpoint(self, step: int | None) -> None:
        """Removes every other checkpoint."""
        with files.guarded(self.path / "checkpoint"):
            checkpoints.keep_only(self.path / "checkpoint", step)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint, if it is complete and undamaged; nothing is removed."""
        step = max(self.checkpoints(), default=None)
        try:
            return None if step is None else checkpoints.load(self.path / "checkpoint" / str(step), step)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def latest(self) -> Checkpoint | None:
        """The newest complete checkpoint. Damaged ones are removed, each with a line in `warnings`."""
        with files.guarded(self.path / "checkpoint"):
            found, warnings = checkpoints.latest(self.path / "checkpoint")
        self.warnings += warnings
        return found

    def rewind(self, checkpoint: Checkpoint | None) -> None:
        """Cuts the logs back to what the checkpoint covers (to nothing without one) and removes every other checkpoint."""
        covers = checkpoint.covers if checkpoint else {}
        for name in LOGS:
            path, length = self.path / name, covers.get(name, 0)
            size = path.stat().st_size if path.exists() else 0
            if size < length:
                message = f"{path} has {size} bytes, but the checkpoint covers {length}: it was cut from outside"
                raise StoreError(f"{message}; remove {self.path} to run from the start")
        with files.guarded(self.path):
            for name in (DONE, FAILED):
                (self.path / name).unlink(missing_ok=True)
            checkpoints.keep_only(self.path / "checkpoint", checkpoint.step if checkpoint else None)
            for name in LOGS:
                if (self.path / name).exists():
                    os.truncate(self.path / name, covers.get(name, 0))
        self._last = None

    def finish(self, summary: dict[str, Any]) -> None:
        """Marks the run as finished. Raises ValueError for a summary that is not JSON."""
        text = files.canonical({"records": len(self.records()), "summary": summary})
        with files.guarded(self.path / DONE):
            self._sync_logs()
            files.replace(self.path / DONE, text)

    def fail(self, kind: Failure, error: str) -> None:
        """Marks the run as failed, with the reason. The mark goes when the run goes on.

        "diverged" is an end: the same specification would diverge again. "error" may be mended, "memory" and "killed" may not come back.
        """
        with files.guarded(self.path / FAILED):
            self._sync_logs()
            files.replace(self.path / FAILED, files.canonical({"kind": kind, "error": error}))

    def records(self) -> list[Record]:
        """Raises StoreError for a corrupt curve."""
        return read_records(self.path)

    def close(self) -> None:
        """Gives the lock back; may be called twice."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _sync_logs(self) -> dict[str, int]:
        """The length in bytes of each log, all of it on the disk."""
        covers = {}
        for name in LOGS:
            path = self.path / name
            if path.exists():
                files.sync(path)
                covers[name] = path.stat().st_size
        files.sync(self.path)
        return covers


def _split(record: Record) -> tuple[dict[str, Any], dict[str, Any]]:
    """What must repeat byte for byte, and what cannot."""
    for name in record.probes:
        if name in COLUMNS:
            raise ValueError(f"probe {name!r} has the name of a column; choose another")
    probes = {name: float(value) for name, value in record.probes.items()}
    for name, value in {**{k: getattr(record, k) for k in FIELDS}, **probes}.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value} at step {record.step}; a value without meaning is absent, never {value}")
    curve = asdict(replace(record, probes=probes, items=None))
    del curve["items"]
    timing = {"step": record.step, **{name: curve.pop(name) for name in TIMES}}
    return curve, timing


def read_records(folder: Path) -> list[Record]:
    """The curve with its times joined; a missing time is NaN. Raises StoreError naming the file and line of a corruption."""
    times = {line.get("step"): line for line in files.lines(folder / TIMING)}
    found = []
    for number, line in enumerate(files.lines(folder / CURVE), start=1):
        try:
            time_of = times.get(line["step"], {})
            found.append(Record(**line, **{name: time_of.get(name, math.nan) for name in TIMES}))
        except (KeyError, TypeError) as error:
            raise StoreError(f"{folder / CURVE} line {number} is not a record ({error}); remove {folder} and run again") from error
    return found


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a finished run; None before that."""
    try:
        held = json.loads((folder / DONE).read_bytes())
        return dict(held["summary"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_whole(folder: Path, records: int) -> None:
    """Raises StoreError where a finished run had another number of records than there are now."""
    try:
        had = json.loads((folder / DONE).read_bytes()).get("records", records)
    except (OSError, ValueError, AttributeError):
        return
    if had != records:
        raise StoreError(f"{folder / CURVE} has {records} of {had} records: it was cut; remove {folder} and run again")


def read_failure(folder: Path) -> tuple[str, str] | None:
    """The kind and the text of the failure that a run is marked with."""
    try:
        held = json.loads((folder / FAILED).read_bytes())
        return str(held["kind"]), str(held["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_items(folder: Path) -> list[tuple[int, Items]]:
    """Step and item scores of each evaluation; none for runs of versions that kept none. Raises StoreError for a corrupt file."""
    return [(line["step"], Items(line["key"], tuple(line["scores"]))) for line in files.lines(folder / ITEMS)]
