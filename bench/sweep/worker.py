"""A process that does one job after another, so that Python and torch are loaded once."""

from __future__ import annotations

import gc
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from bench.store import RunStore
from bench.sweep.jobs import Job
from bench.sweep.work import perform

OVER = b"over"  # the job is over, and the process is ready for the next


def serve(descriptor: int, results: str, reserve: int) -> None:
    """A worker's life: do the jobs that come through the pipe, telling of each, until it closes.

    It closes when the parent dies, however it dies. That ends the process at once, in the middle of a job: nobody would see it go on, and
    the run can be taken up.
    """
    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    pipe, todo, store = Connection(descriptor), queue.SimpleQueue[bytes](), RunStore(Path(results), reserve)
    threading.Thread(target=_listen, args=(pipe, todo), daemon=True).start()
    while True:
        job = Job.from_json(todo.get())
        perform(job, store, lambda event: _send(pipe, event.to_json().encode()))
        _tidy()
        _send(pipe, OVER)


def _send(pipe: Connection, message: bytes) -> None:
    """Where the parent is gone, that is the end, and no fault of the run."""
    try:
        pipe.send_bytes(message)
    except OSError:
        os._exit(0)


def _listen(pipe: Connection, todo: queue.SimpleQueue[bytes]) -> None:
    with suppress(EOFError, OSError):
        while True:
            todo.put(pipe.recv_bytes())
    os._exit(0)


def _tidy() -> None:
    """Give back what the job held, so that the next has the memory; above all the GPU's."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
