"""The end of a run of several processes when one of them fails: none waits for it in vain, and the run's folder says whose fault it was.

A process that fails leaves a note in the store that all see. One that is killed cannot; it is missed. The others learn of it by an error
of their own where they wait for it in gloo, by SIGTERM where a launcher ends them, and where neither gets through, as in a kernel of
nccl, by a thread that looks for notes and for the missing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from bench.errors import DivergedError, PeerError
from bench.ranks import Ranks
from bench.run_folder import Failure

NOTE = "failed"  # the first note's key in the store
LOOK = 1.0  # seconds between two looks of the thread
WORD = 3.0  # seconds in which a note comes, or somebody is missed, once an exchange between processes has failed
GRACE = 10.0  # seconds that a process has to end by itself; torchrun kills after 30
REMEDY = "what was saved stays, and the same command continues from the last checkpoint"
Write = Callable[[Failure, str], None]


class Terminated(BaseException):
    """SIGTERM, where it is to leave a trace."""


@dataclass(frozen=True)
class Note:
    """Why a process ended."""

    rank: int  # -1: nobody knows which
    kind: Failure | None  # None where a person stopped it
    error: str

    def __str__(self) -> str:
        return self.error if self.rank < 0 or self.kind == "diverged" else f"process {self.rank} of the run: {self.error}"


class Watch:
    """Looks after one process among those of its run, from `with` on. Of a process alone it marks that training diverged."""

    def __init__(self, ranks: Ranks, grace: float = GRACE) -> None:
        self.ranks, self.grace = ranks, grace
        self._write: Write | None = None
        self._note: Note | None = None
        self._explaining, self._written = threading.Lock(), threading.Lock()
        self._over = threading.Event()
        self._places: dict[int, int] = {}  # process number of each other rank of this machine
        self._undo: list[Callable[[], Any]] = []

    def __enter__(self) -> Self:
        if self.ranks.size > 1:
            here = socket.gethostname()
            found = self.ranks.gathered([(self.ranks.rank, here, os.getpid())])
            self._places = {rank: pid for rank, host, pid in found if host == here and rank != self.ranks.rank}
            hears = self.ranks.first and threading.current_thread() is threading.main_thread()
            signals = self._listen() if hears else None
            threading.Thread(target=self._look, args=(signals,), name="watch", daemon=True).start()
        return self

    @contextmanager
    def marking(self, write: Write) -> Iterator[None]:
        """A failure of the block is written down by the first process: its kind and its reason."""
        self._write = write
        try:
            yield
        except BaseException as error:
            if self.ranks.size > 1:
                self._mark(self.explain(error))
            elif isinstance(error, DivergedError):
                write("diverged", str(error))
            raise
        finally:
            self._write = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Raises PeerError in place of an error that is a consequence of another process's end."""
        note = None if error is None or self.ranks.size == 1 else self.explain(error)
        self._over.set()
        if note is None:  # else no signal gets between before the process has said why it ends
            for undo in self._undo:
                undo()
        elif note.kind is None:
            raise KeyboardInterrupt from error
        elif note.rank != self.ranks.rank and not isinstance(error, PeerError):
            raise PeerError(f"{note}; {REMEDY}") from error

    def explain(self, error: BaseException) -> Note:
        """Why this process ends: its own note, which the others get to see, or that of the one that ended first."""
        with self._explaining:
            if self._note is None:
                self._note = self._others(error) or self._own(error)
            return self._note

    def told(self) -> Note | None:
        """The note of the process that failed first."""
        with suppress(RuntimeError):  # the store is gone with its host
            if self.ranks.store.check([NOTE]):
                return Note(**json.loads(self.ranks.store.get(NOTE)))
        return None

    def missed(self) -> Note | None:
        """A process of this machine that is no more."""
        gone = next((rank for rank, pid in self._places.items() if not lives(pid)), None)
        return None if gone is None else Note(gone, "killed", "it ended without a word (killed, or the machine had no memory left)")

    def _others(self, error: BaseException) -> Note | None:
        """What happened to another process, where the error may come of waiting for one."""
        if isinstance(error, PeerError):
            return Note(-1, "error", str(error))
        if isinstance(error, torch.OutOfMemoryError) or not isinstance(error, Terminated | RuntimeError | OSError):
            return None
        until = time.monotonic() + WORD
        while time.monotonic() < until:
            note = self.told() or self.missed()
            if note is not None:
                return note
            time.sleep(0.05)
        return Note(-1, "killed", "the processes of the run were ended from outside (SIGTERM)") if isinstance(error, Terminated) else None

    def _own(self, error: BaseException) -> Note:
        text = str(error) if isinstance(error, DivergedError) else f"{type(error).__name__}: {error}"
        own = Note(self.ranks.rank, kind_of(error), text)
        with suppress(RuntimeError):
            self.ranks.store.compare_set(NOTE, "", json.dumps(asdict(own)))
        return own

    def _mark(self, note: Note) -> None:
        if self.ranks.first and self._write is not None and note.kind is not None and self._written.acquire(blocking=False):
            self._write(note.kind, str(note))

    def _listen(self) -> socket.socket:
        """Where SIGTERM is heard of even while the main thread waits in C; in Python it raises Terminated there."""

        def terminate(number: int, frame: FrameType | None) -> None:
            if not self._explaining.locked() and self._note is None:
                raise Terminated

        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        ours.settimeout(LOOK)
        before, heard = signal.signal(signal.SIGTERM, terminate), signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._undo = [lambda: signal.signal(signal.SIGTERM, before), lambda: signal.set_wakeup_fd(heard), theirs.close]
        return ours

    def _look(self, signals: socket.socket | None) -> None:
        """End this process where it does not do so by itself: it may be waiting where no error and no signal gets through."""
        called = False
        while not (called or self._over.is_set() or self.told() or self.missed()):
            if signals is None:
                self._over.wait(LOOK)
                continue
            with suppress(TimeoutError):
                called = signal.SIGTERM in signals.recv(64)
        if signals is not None:
            signals.close()
        if not self._over.wait(self.grace):
            note = self.explain(Terminated())
            self._mark(note)
            if self.ranks.first:
                print(f"bench: {note}; {REMEDY}", file=sys.stderr, flush=True)
            os._exit(1)


def kind_of(error: BaseException) -> Failure | None:
    """The kind of failure that a run is marked with; None for Ctrl-C."""
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, KeyboardInterrupt):
        return None
    return "memory" if isinstance(error, MemoryError | torch.OutOfMemoryError) else "error"


def lives(pid: int) -> bool:
    """Whether a process of this machine is there, and is more than an entry that its parent has not read yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] not in "ZX"
    return True
