"""What stands between training and its trackers: each record once, and no fault of theirs is one of the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import files
from bench.config import RunSpec
from bench.errors import MissingError, unknown
from bench.record import Record
from bench.store import RunStore
from bench.tracking.base import Shown, Tracker
from bench.tracking.names import values

TRACKERS = {"tensorboard": "TensorBoard", "wandb": "WandB", "trackio": "Trackio"}
MARK = "shown.json"  # in a tracker's folder: the newest record that it was given


def tracker(name: str) -> type[Tracker]:
    """Its class. Raises ConfigError for an unknown name, MissingError for one whose library is not installed."""
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    found: type[Tracker] = getattr(import_module(f"bench.tracking.{name}"), TRACKERS[name])
    for module in found.needs:
        if not _there(module):
            raise MissingError(f'--track {name} needs {module}, which is not installed; pip install "rl-bench-suite[{found.extra}]"')
    return found


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # a module that was put aside
        return False


class Tracking:
    """An observer of training for any number of runs and trackers; `with` ends them."""

    def __init__(self, names: Sequence[str], store: RunStore, warn: Callable[[str], None]) -> None:
        """`warn` is told of each tracker that failed, once. Raises what `tracker` does, before anything is trained."""
        self.kinds = {name: tracker(name) for name in names}
        self.store, self.warn = store, warn
        self.open: dict[str, dict[str, _One]] = {}  # by run and by tracker
        self.failed: set[str] = set()
        self.last: dict[str, Record] = {}

    def observe(self, spec: RunSpec, record: Record) -> None:
        """Show a record; those that were shown by an earlier call are met again when a run goes on, and passed over."""
        self.last[spec.run_id] = record
        for name in self.kinds.keys() - self.failed:
            self._guarded(name, partial(self._show, name, spec, record))

    def beside(self, other: Callable[[RunSpec, Record], None]) -> Callable[[RunSpec, Record], None]:
        """An observer that tells `other` first."""

        def both(spec: RunSpec, record: Record) -> None:
            other(spec, record)
            self.observe(spec, record)

        return both

    def _show(self, name: str, spec: RunSpec, record: Record) -> None:
        held = self.open.setdefault(spec.run_id, {})
        if name not in held:
            held[name] = _One(self.kinds[name](), self.store.folder(spec) / name)
        held[name].show(spec, record)

    def _guarded(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # whatever a library may raise
            self.failed.add(name)
            self.warn(f"--track {name} failed ({type(error).__name__}: {error}); training goes on without it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for run_id, held in self.open.items():
            for name, one in held.items():
                end = partial(one.finish, self.last[run_id], kind is not None)
                if name not in self.failed:
                    self._guarded(name, end)
                else:
                    with suppress(Exception):  # its failure was told already
                        end()


class _One:
    """A tracker of one run, begun with the first record that it has not seen."""

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self.tracker, self.folder, self.began = tracker, folder, False
        self.shown = _read(folder / MARK) if tracker.durable else None

    def show(self, spec: RunSpec, record: Record) -> None:
        if self.shown is not None and record.step <= self.shown.step:
            return
        if not self.began:
            if self.tracker.durable:
                self.folder.mkdir(parents=True, exist_ok=True)
            self.tracker.start(spec, self.folder, self.shown)
            self.began = True
        self.tracker.log(record, values(spec, record))
        self.shown = Shown(record.step, record.samples, record.tokens)
        if self.tracker.durable:
            files.replace(self.folder / MARK, json.dumps(asdict(self.shown)))

    def finish(self, last: Record, failed: bool) -> None:
        if self.began:
            found: dict[str, Any] = {"samples": last.samples, "tokens": last.tokens, "score": last.eval_score}
            self.tracker.finish({name: float(value) for name, value in found.items() if value is not None}, failed)


def _read(path: Path) -> Shown | None:
    """None where nothing was shown, or nobody knows what."""
    try:
        return Shown(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
