"""Scores completions in worker processes that can be killed: a verdict on hostile text costs that completion and nothing else.

A worker is a plain `python -c` on a pipe, so the caller's own script is never imported again and needs no `__main__` guard. It imports
the task and this module, not torch. The limits need a POSIX system.
"""

from __future__ import annotations

import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType

from bench.errors import BenchError, ConfigError
from tasks.base import Problem, Score, TextTask

CHUNK = 64  # completions sent at a time; a worker reads them all before it answers, so neither side blocks on a full pipe
LONGEST = 100_000  # characters of a completion; a longer one is wrong unread
LEAST_MEMORY = 1 << 27  # bytes; an interpreter with a task needs about a quarter of it
START_LIMIT = 60.0  # seconds a worker may take to import the task and what that needs

MOST_WORKERS = 8

Item = tuple[Problem, str]


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    pending: deque[int] = field(default_factory=deque)  # places of the completions it holds, the one at work first
    deadline: float = math.inf  # of the next reply, on the monotonic clock


class Verifier:
    """Worker processes that score completions of one task, started when `score` needs them and again where one dies."""

    def __init__(self, task: TextTask, workers: int = 1, time_limit: float = 2.0, memory_limit: int = 1 << 30) -> None:
        """time_limit: seconds of wall clock per completion. memory_limit: bytes of address space per worker, where the system can hold it.

        Raises ConfigError for values out of range and for a task that cannot be pickled.
        """
        if workers < 1 or not 0 < time_limit < math.inf or memory_limit < LEAST_MEMORY:
            given = f"workers={workers}, time_limit={time_limit}, memory_limit={memory_limit}"
            raise ConfigError(f"{given}: it takes one worker or more, a time limit above 0 seconds and at least {LEAST_MEMORY} bytes")
        try:
            self._task = pickle.dumps(task)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(f"{task!r} cannot travel to the workers ({error}); define its class at the top level of a module") from error
        self._name = type(task).__name__
        self._limits = (time_limit, memory_limit)
        self._count = workers
        self._workers: list[_Worker] = []

    def score(self, items: Sequence[Item]) -> list[Score]:
        """One verdict per item, in order.

        A completion that is too long, or whose scoring raises, ends the worker, exceeds a limit or gives no finite numbers, is worth 0
        with `parts["error"]` 1, and `parts["timeout"]` 1 where it was late. Raises BenchError if a worker cannot start.
        """
        scores = [failed()] * len(items)
        todo = deque(i for i, (_, text) in enumerate(items) if len(text) <= LONGEST)
        size = max(1, min(CHUNK, -(-len(todo) // self._count)))
        try:
            while todo or any(worker.pending for worker in self._workers):
                self._hand_out(items, todo, size)
                self._take_in(scores, todo)
        except BaseException:
            self.close()  # a worker in the middle of a chunk would answer the next call with this call's verdicts
            raise
        return scores

    def close(self) -> None:
        """End the workers. `score` may be called again: it starts new ones."""
        while self._workers:
            self._end(self._workers[-1])

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _hand_out(self, items: Sequence[Item], todo: deque[int], size: int) -> None:
        """Give each idle worker a chunk, starting workers while there is work for them."""
        idle = [worker for worker in self._workers if not worker.pending]
        while len(self._workers) < self._count and len(idle) * size < len(todo):
            idle.append(self._start())
        for worker in idle:
            chunk = [todo.popleft() for _ in range(min(size, len(todo)))]
            if not chunk:
                return
            try:
                worker.pipe.send_bytes(pickle.dumps([items[i] for i in chunk]))
            except OSError:  # it died while idle: none of these is to blame
                todo.extendleft(reversed(chunk))
                self._end(worker)
                continue
            worker.pending.extend(chunk)
            worker.deadline = time.monotonic() + self._limits[0]

    def _take_in(self, scores: list[Score], todo: deque[int]) -> None:
        """Wait for replies, take those there are, and end the workers that died or are late."""
        busy = {worker.pipe: worker for worker in self._workers if worker.pending}
        patience = min((worker.deadline for worker in busy.values()), default=0.0) - time.monotonic()
        ready = wait(list(busy), timeout=max(0.0, patience))
        for pipe, worker in busy.items():
            if pipe in ready:
                verdict = _receive(pipe)
                scores[worker.pending.popleft()] = verdict if isinstance(verdict, Score) else failed()
                worker.deadline = time.monotonic() + self._limits[0]
                if verdict is not None:
                    continue
            elif time.monotonic() >= worker.deadline:
                scores[worker.pending.popleft()] = failed(timeout=True)
            else:
                continue
            todo.extendleft(reversed(worker.pending))
            self._end(worker)

    def _start(self) -> _Worker:
        """A new worker that has imported the task. Raises BenchError with the reason if it cannot."""
        ours, theirs = Pipe()
        with theirs:
            code = f"from bench.verifying import serve; serve({theirs.fileno()})"
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", code],  # -P: the working folder is no place to import from, unless it is on our own path
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
            )
        worker = _Worker(process, ours)
        self._workers.append(worker)
        reply: object = None
        with suppress(OSError):  # it died at once
            ours.send_bytes(pickle.dumps(self._limits))
            ours.send_bytes(self._task)
            reply = _receive(ours) if ours.poll(START_LIMIT) else f"no reply within {START_LIMIT:g} seconds"
        if reply != "ready":
            self._end(worker)
            reason = reply or f"it ended with exit status {process.returncode}"
            remedy = "define the task in a module that a fresh interpreter can import"
            raise BenchError(f"no worker can be started for {self._name} ({reason}); {remedy}")
        return worker

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.kill()
        worker.process.wait()


def usable_cores() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def failed(timeout: bool = False) -> Score:
    """The verdict on a completion that could not be scored."""
    return Score(0.0, 0.0, {"strict": 0.0, "lenient": 0.0, "error": 1.0} | ({"timeout": 1.0} if timeout else {}))


def serve(descriptor: int) -> None:
    """A worker's life: take the limits and the task, then answer chunks of completions, one verdict at a time, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it closes the pipe
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    pipe = Connection(descriptor)
    with suppress(EOFError, OSError):  # the parent is gone
        time_limit, memory_limit = pickle.loads(pipe.recv_bytes())
        try:
            task = pickle.loads(pipe.recv_bytes())
            task.ready()
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")
            return
        _bound(memory_limit)
        pipe.send("ready")
        while True:
            for problem, text in pickle.loads(pipe.recv_bytes()):
                signal.setitimer(signal.ITIMER_REAL, 2 * time_limit + 1)  # ends a worker whose parent died before it could
                verdict = _verdict(task, problem, text)
                signal.setitimer(signal.ITIMER_REAL, 0)
                pipe.send(verdict)


def _bound(memory_limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = memory_limit if hard == resource.RLIM_INFINITY else min(memory_limit, hard)
    with suppress(ValueError, OSError):  # macOS has the name but not the limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _verdict(task: TextTask, problem: Problem, text: str) -> Score:
    try:
        score = task.score(problem, text)
        return Score(_finite(score.reward), _finite(score.correct), {str(k): _finite(v) for k, v in score.parts.items()})
    except BaseException:  # whatever a text provokes, SystemExit and MemoryError among it, is a wrong answer
        return failed()


def _finite(value: object) -> float:
    """`value` as a plain float. Raises ValueError where it is not a finite number."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def _receive(pipe: Connection) -> object:
    """The next message, None where the other side is gone."""
    try:
        return pickle.loads(pipe.recv_bytes())
    except (EOFError, OSError):
        return None
