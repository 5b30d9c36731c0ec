"""The results folder: `<table>/<algorithm>/<run_id>/` holds one run. Nothing else touches it.

`tuning/` in it is another results folder, which holds what settings were chosen by.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import checkpoint as checkpoints
from bench import files
from bench.config import RunSpec
from bench.errors import BusyError, StoreError, unknown
from bench.record import Record
from bench.run_folder import COLUMNS, FIELDS, LOGS, SAMPLES, Failure, RunFolder, check_whole, read_failure, read_records, read_summary

if TYPE_CHECKING:
    import pandas

State = Literal["finished", "running", "stopped", "failed", "broken"]
TUNING = "tuning"  # folder in which `bench tune` keeps a results folder of its own: its runs are no results
FILTERS = ("table", "algorithm", "task", "tier", "sampler", "model", "seed", "run_id", "state")


@dataclass(frozen=True)
class RunInfo:
    """What a reader may know of a run, finished or not."""

    run_id: str
    folder: Path
    state: State
    spec: RunSpec | None = None  # None where the folder is broken
    count: int = 0  # records
    last: Record | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)  # of a finished run
    error: str | None = None  # why the folder is broken, or the run failed
    failure: str | None = None  # of a failed run: diverged, error, memory or killed

    def records(self) -> list[Record]:
        """Raises StoreError for a corrupt curve."""
        return read_records(self.folder)

    def samples(self) -> list[dict[str, Any]]:
        """The completions that were kept for reading. Raises StoreError for a corrupt file."""
        return files.lines(self.folder / SAMPLES)


class RunStore:
    """All runs under one folder, which need not exist yet."""

    def __init__(self, root: Path, reserve: int = 200 * 2**20) -> None:
        """`reserve`: free bytes without which no run is opened."""
        self.root, self.reserve = Path(root), reserve

    def folder(self, spec: RunSpec) -> Path:
        """Where its run is, or would be."""
        return self.root / spec.table / spec.algorithm.name / spec.run_id

    def open(self, spec: RunSpec, provenance: dict[str, Any]) -> RunFolder:
        """The run's folder, made if it is new. The caller closes it.

        Raises StoreError for a folder that cannot be written, too little free space, a run that another process is writing, or a
        folder that holds another specification.
        """
        folder = self.folder(spec)
        wanted = json.loads(json.dumps(spec.to_json()))
        with files.guarded(folder):
            self.check()
            lock = self._create(folder, {"spec": wanted, "run_id": spec.run_id, "provenance": provenance})
            if lock is not None:
                return RunFolder(folder, spec, lock)
            if any((folder / (name + files.PACKED)).exists() for name in LOGS):
                raise StoreError(f"{folder} is packed: it can be read, but not written; choose another results folder")
            lock = files.Lock(folder)
            try:
                self._reopen(folder, wanted, provenance)
            except BaseException:
                lock.release()
                raise
        return RunFolder(folder, spec, lock)

    def finished(self, spec: RunSpec) -> Path | None:
        """The folder of the run with this specification, if it has ended."""
        folder = self.folder(spec)
        return folder if read_summary(folder) is not None else None

    def info(self, spec: RunSpec) -> RunInfo | None:
        """What is known of the run with this specification; None before it has begun."""
        folder = self.folder(spec)
        return _inspect(folder) if folder.is_dir() else None

    def fail(self, spec: RunSpec, kind: Failure, error: str) -> None:
        """Marks a run whose process could not do so itself; nothing where it never began, is finished, or is another's by now."""
        folder = self.folder(spec)
        with suppress(BusyError, FileNotFoundError), RunFolder(folder, spec, files.Lock(folder)) as run:
            if not run.finished:
                run.fail(kind, error)

    def check_free(self, spec: RunSpec) -> None:
        """Raises BusyError for a run that another process is writing."""
        folder = self.folder(spec)
        if folder.exists():
            files.Lock(folder).release()

    def opened_with(self, spec: RunSpec) -> dict[str, Any] | None:
        """The facts with which a run was last opened that something is saved of; None for others. Raises StoreError for a broken folder."""
        folder = self.folder(spec)
        if not checkpoints.steps(folder / "checkpoint"):
            return None
        held = _read_spec(folder)
        facts: dict[str, Any] = [held["provenance"], *held.get("resumed", [])][-1]
        return facts

    def runs(self, **wanted: Any) -> list[RunInfo]:
        """Every run that has the wanted values, sorted by folder; a broken folder is listed with its error.

        Values may be given for table, algorithm, task, tier, sampler, model (names), seed, run_id and state.
        """
        for name in wanted:
            if name not in FILTERS:
                raise unknown("filter", name, FILTERS)
        named = (wanted.get("table"), wanted.get("algorithm"))
        found = [path for path in folders(self.root) if all(x in (None, y) for x, y in zip(named, path.parts[-3:-1], strict=True))]
        return [info for info in map(_inspect, found) if _matches(info, wanted)]

    def find(self, prefix: str) -> RunInfo:
        """The one run whose id begins so. Raises ConfigError for none, StoreError for several."""
        runs = self.runs()
        found = [info for info in runs if info.run_id.startswith(prefix)] if prefix else []
        if not found:
            raise unknown(f"run in {self.root}", prefix, (info.run_id for info in runs))
        if len(found) > 1:
            names = ", ".join(f"{info.run_id} ({info.folder.parent.name})" for info in found)
            raise StoreError(f"run {prefix!r} could be {names}; give more digits")
        return found[0]

    def frame(self, **wanted: Any) -> pandas.DataFrame:
        """One row per record of every readable run: COLUMNS, then a column for each probe; NaN where a value is absent."""
        import pandas

        rows: list[dict[str, Any]] = []
        for info in self.runs(**wanted):
            if info.spec is not None:
                keys = {"table": info.spec.table, "algorithm": info.spec.algorithm.name, "run_id": info.run_id, "seed": info.spec.seed}
                rows += [{**keys, **{name: getattr(record, name) for name in FIELDS}, **record.probes} for record in info.records()]
        probes = sorted({name for row in rows for name in row} - set(COLUMNS))
        return pandas.DataFrame(rows, columns=[*COLUMNS, *probes]).astype({"eval_score": float})

    def check(self) -> None:
        """Raises StoreError where no run could be written: not a folder, not writable, or next to full. Makes nothing."""
        there = next(path for path in (self.root.absolute(), *self.root.absolute().parents) if path.exists())
        if not there.is_dir():
            raise StoreError(f"{there} is not a folder; choose another results folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise StoreError(f"{there} is not writable; make it so or choose another results folder")
        free = shutil.disk_usage(there).free
        if free < self.reserve:
            raise StoreError(f"{there} has {free / 1e6:.0f} MB free, {self.reserve / 1e6:.0f} MB are needed; free some space")

    def _create(self, folder: Path, content: dict[str, Any]) -> files.Lock | None:
        """Makes the folder by one rename and returns its lock, held; None where it is there already."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        for stale in folder.parent.glob(f".new-{folder.name}-*"):  # of a process that was killed while it made one
            if time.time() - stale.stat().st_mtime > 3600:
                shutil.rmtree(stale, ignore_errors=True)
        if folder.exists():
            return None
        temporary = Path(tempfile.mkdtemp(prefix=f".new-{folder.name}-", dir=folder.parent))
        lock = None
        try:
            temporary.chmod(folder.parent.stat().st_mode & 0o777)
            lock = files.Lock(temporary)
            files.write(temporary / "spec.json", json.dumps(content, indent=1))
            temporary.rename(folder)
        except BaseException as error:
            if lock is not None:
                lock.release()
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, OSError) and folder.exists():  # another process was first
                return None
            raise
        files.sync(folder.parent)
        return lock

    def _reopen(self, folder: Path, wanted: dict[str, Any], provenance: dict[str, Any]) -> None:
        held = _read_spec(folder)
        if held["spec"] != wanted:
            names = ", ".join(sorted(name for name in {*wanted, *held["spec"]} if held["spec"].get(name) != wanted.get(name)))
            raise StoreError(
                f"{folder / 'spec.json'} holds another specification (it differs in {names}); move {folder} away and run again"
            )
        for name in LOGS:
            files.drop_torn_tail(folder / name)
        if read_summary(folder) is None:
            held.setdefault("resumed", []).append(provenance)
            files.replace(folder / "spec.json", json.dumps(held, indent=1))


def folders(root: Path) -> list[Path]:
    """The folder of every run under a results folder, sorted; of other data that lies there, none."""
    return sorted(p for p in root.glob("*/*/*") if p.is_dir() and not any(q.startswith(".") for q in p.parts[-3:]) and _is_run(p))


def _is_run(folder: Path) -> bool:
    """A table two levels up from here holds no runs itself."""
    return not any(folder.glob("*/spec.json"))


def _read_spec(folder: Path) -> dict[str, Any]:
    """The content of spec.json. Raises StoreError where it is not one."""
    path = folder / "spec.json"
    try:
        held = json.loads(path.read_bytes())
        if not isinstance(held["spec"], dict) or held["run_id"] != folder.name or not isinstance(held["provenance"], dict):
            raise ValueError("it belongs to another folder")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error!r}); restore it, or remove {folder} and run again") from error
    return dict(held)


def _inspect(folder: Path) -> RunInfo:
    try:
        held = _read_spec(folder)
        spec, records, summary = RunSpec.from_json(held["spec"]), read_records(folder), read_summary(folder)
        check_whole(folder, len(records))
    except (StoreError, KeyError, TypeError, ValueError) as error:
        return RunInfo(folder.name, folder, "broken", error=str(error))
    failure, why = read_failure(folder) or (None, None)
    ended: State = "finished" if summary is not None else "stopped" if failure is None else "failed"
    state: State = "running" if files.locked(folder) else ended
    provenance = {**held["provenance"], "resumed": held.get("resumed", [])}
    last = records[-1] if records else None
    return RunInfo(folder.name, folder, state, spec, len(records), last, provenance, summary or {}, why, failure)


def _matches(info: RunInfo, wanted: Mapping[str, Any]) -> bool:
    """What a broken folder does not tell counts as matching: it must not vanish from a list."""
    known: dict[str, Any] = {"table": info.folder.parents[1].name, "algorithm": info.folder.parent.name, "run_id": info.run_id}
    known["state"] = info.state
    if info.spec is not None:
        known |= {name: getattr(info.spec, name).name for name in ("task", "sampler", "model")}
        known |= {"tier": info.spec.tier, "seed": info.spec.seed}
    return all(name not in known or known[name] == value for name, value in wanted.items())
