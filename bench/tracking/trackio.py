"""Trackio: a database on this machine, which `trackio show --project bench` opens."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from contextvars import copy_context
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from bench.config import RunSpec
from bench.record import Record
from bench.tracking.base import Shown
from bench.tracking.tensorboard import flat


class Trackio:
    """One run of Trackio, by name. Spaces and servers are used where its own variables ask for them."""

    needs: ClassVar[tuple[str, ...]] = ("trackio",)
    extra: ClassVar[str] = "trackio"
    durable: ClassVar[bool] = False  # a thread writes what it was given twice a second

    def start(self, spec: RunSpec, folder: Path, shown: Shown | None) -> None:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        given: dict[str, Any] = {
            "project": os.environ.get("TRACKIO_PROJECT", "bench"),
            "name": f"{spec.table}-{spec.algorithm.name}-seed{spec.seed}-{spec.run_id}",
            "group": f"{spec.algorithm.name} on {spec.table}",
            "config": flat(asdict(spec)),
            "resume": "allow",
            "embed": False,
            "auto_log_gpu": False,
            "auto_log_cpu": False,
        }
        with redirect_stdout(io.StringIO()):
            known = SQLiteStorage.get_max_step_for_run(given["project"], given["name"])
            self.after = -1 if known is None else known
            self.run = copy_context().run(trackio.init, **given)  # which would end a run that was begun before, in the same context

    def log(self, record: Record, values: dict[str, float]) -> None:
        if record.step > self.after:
            self.run.log(values | {"global_step": float(record.samples)}, step=record.step)

    def finish(self, summary: dict[str, float], failed: bool) -> None:
        with redirect_stdout(io.StringIO()):
            self.run.finish()
