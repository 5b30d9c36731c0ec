"""Jobs in processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import IO

from bench.run_folder import Failure
from bench.store import RunStore
from bench.sweep.events import Event
from bench.sweep.jobs import Job
from bench.sweep.slots import Slot
from bench.sweep.work import died
from bench.sweep.worker import OVER

PATIENCE = 2.0  # seconds a process is given to end by itself


class Process:
    """One worker, in a session of its own: a Ctrl-C in the terminal does not reach it, and what it started ends with it."""

    def __init__(self, slot: Slot, store: RunStore) -> None:
        self.slot, self.job, self.left, self.spent, self.ooms = slot, None, set[str](), False, 0
        self.output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.pipe, theirs = Pipe()
        with theirs:
            code = f"from bench.sweep.worker import serve; serve({theirs.fileno()}, {str(store.root.absolute())!r}, {store.reserve})"
            self.popen = subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=self.output,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)} | slot.environment(),
                start_new_session=True,
            )

    job: Job | None  # at work
    left: set[str]  # ids of its runs that have not ended
    spent: bool  # it has run out of memory once, and what it holds may be in pieces

    def give(self, job: Job) -> bool:
        """Hand it a job; False where it is dead."""
        self.job, self.left, self.ooms = job, {spec.run_id for spec in job.specs}, out_of_memory_kills()
        try:
            self.pipe.send_bytes(job.to_json().encode())
        except OSError:
            return False
        return True

    def end(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to it and to all that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, number)

    def close(self) -> None:
        """End it and forget it."""
        self.end()
        self.popen.wait()
        self.pipe.close()
        self.output.close()

    def obituary(self) -> tuple[Failure, str]:
        """What it died of, once it is dead."""
        code = self.popen.wait()
        if code == -signal.SIGKILL and out_of_memory_kills() > self.ooms:
            return "memory", "killed by the system, which was out of memory; let fewer processes run at a time (--workers)"
        if code == -signal.SIGKILL:
            return "killed", "killed by signal 9 (SIGKILL), perhaps out of memory; if so, let fewer processes run at a time (--workers)"
        self.output.seek(max(0, self.output.seek(0, os.SEEK_END) - 4000))
        said = self.output.read().decode(errors="replace").strip().splitlines()
        words = next((line for line in said if line.startswith("Fatal Python error")), said[-1] if said else "")
        after = f" after it said: {words[:200]}" if words else ""
        if code < 0:
            return "killed", f"killed by signal {-code} ({signal.Signals(-code).name}){after}"
        return "error", f"its process ended with exit status {code}{after}"


class LocalCrew:
    """Processes on this machine, one for each slot, started when there is a job for them and again when they have died."""

    def __init__(self, slots: Sequence[Slot], store: RunStore) -> None:
        self._slots, self._store = list(slots), store
        self._processes: dict[int, Process] = {}  # by place of the slot

    @property
    def busy(self) -> int:
        """Jobs at work."""
        return sum(process.job is not None for process in self._processes.values())

    def takes(self, job: Job) -> bool:
        """Whether a slot for it is free."""
        return self._free(job) is not None

    def start(self, job: Job) -> None:
        """Give it to a free slot."""
        place = self._free(job)
        assert place is not None
        process = self._processes.get(place)
        if process is None or not process.give(job):
            if process is not None:
                process.close()
            self._processes[place] = Process(self._slots[place], self._store)
            self._processes[place].give(job)

    def poll(self, seconds: float) -> list[tuple[Job, Event | None]]:
        """What has become known within that time, job by job; None where the job is over."""
        found: list[tuple[Job, Event | None]] = []
        pipes = {process.pipe: place for place, process in self._processes.items()}
        for pipe in wait(list(pipes), timeout=seconds):
            assert isinstance(pipe, Connection)
            found += self._read(pipes[pipe])
        return found

    def close(self) -> None:
        """End every process; what was at work can be taken up."""
        for process in self._processes.values():
            process.end(signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.popen.wait(max(0.0, until - time.monotonic()))
            process.close()
        self._processes.clear()

    def _free(self, job: Job) -> int | None:
        places = [place for place, slot in enumerate(self._slots) if slot.full == job.gpu]
        idle = [place for place in places if place not in self._processes or self._processes[place].job is None]
        return min(idle, key=lambda place: place not in self._processes, default=None)  # one that runs, if there is one

    def _read(self, place: int) -> list[tuple[Job, Event | None]]:
        """One message of a process, or the news of its death."""
        process = self._processes[place]
        try:
            message = process.pipe.recv_bytes()
        except (EOFError, OSError):
            return self._bury(place)
        job = process.job
        assert job is not None
        if message == OVER:
            process.job = None
            if process.spent:
                self._processes.pop(place).close()
            return [(job, None)]
        event = Event.from_json(message)
        if event.kind != "record":
            process.left.discard(event.run)
        process.spent = process.spent or event.failure == "memory"
        return [(job, event)]

    def _bury(self, place: int) -> list[tuple[Job, Event | None]]:
        process = self._processes.pop(place)
        process.end()  # what it started
        job = process.job
        found: list[tuple[Job, Event | None]] = []
        if job is not None:
            specs = [spec for spec in job.specs if spec.run_id in process.left]
            found = [(job, event) for event in died(specs, self._store, *process.obituary())] + [(job, None)]
        process.close()
        return found


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not tell."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0
