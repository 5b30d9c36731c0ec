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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from bench.errors import DivergedError, PeerError
from bench.ranks import Ranks

NOTE = "failed"  # the first note's key in the store
LOOK = 1.0  # seconds between two looks of the thread
WORD = 3.0  # seconds in which a note comes, or somebody is missed, once an exchange between processes has failed
GRACE = 10.0  # seconds that a process has to end by itself; torchrun kills after 30
REMEDY = "what was saved stays, and the same command continues from the last checkpoint"


class Terminated(BaseException):
    """SIGTERM, where it is to leave a trace."""


@dataclass(frozen=True)
class Note:
    """Why a process ended."""

    rank: int  # -1: nobody knows which
    kind: str  # diverged, error, memory, killed, or stopped by Ctrl-C
    error: str

    def __str__(self) -> str:
        return self.error if self.rank < 0 or self.kind == "diverged" else f"process {self.rank} of the run: {self.error}"


class Watch:
    """Looks after one process among those of its run, from `with` on. Does nothing in a process alone."""

    def __init__(self, ranks: Ranks, mark: Callable[[str, str], None] = lambda kind, error: None, grace: float = GRACE) -> None:
        """`mark` writes down kind and reason of a failure; it is called in the first process only, and once."""
        self.ranks, self.grace, self._mark = ranks, grace, mark
        self._once = threading.Lock()
        self._over = threading.Event()
        self._leaving = False
        self._places: dict[int, int] = {}  # process number of each rank of this machine
        self._restore: list[Callable[[], Any]] = []

    def __enter__(self) -> Self:
        if self.ranks.size > 1:
            here = socket.gethostname()
            found = self.ranks.gathered([(self.ranks.rank, here, os.getpid())])
            self._places = {rank: pid for rank, host, pid in found if host == here and rank != self.ranks.rank}
            self._listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Raises PeerError in place of an error that is a consequence of another process's end."""
        self._leaving = True  # from here on no SIGTERM gets between
        if self.ranks.size == 1:
            return
        note = None if error is None else self.explain(error)
        if note is not None:
            self.mark(note)
        self._over.set()
        for undo in self._restore if note is None else []:  # what has failed is about to end, and says why before it does
            undo()
        if note is not None and note.kind == "stopped":
            raise KeyboardInterrupt from error
        if note is not None and note.rank != self.ranks.rank:
            raise PeerError(f"{note}; {REMEDY}") from error

    def explain(self, error: BaseException) -> Note:
        """Why this process ends: its own note, which the others get to see, or that of the one that ended first."""
        until = time.monotonic() + WORD
        passive = isinstance(error, Terminated | RuntimeError | OSError) and not isinstance(error, torch.OutOfMemoryError)
        while passive and time.monotonic() < until:  # so may one end that waits for another
            note = self.told() or self.missed()
            if note is not None:
                return note
            time.sleep(0.05)
        if isinstance(error, Terminated):
            return Note(-1, "killed", "the processes of the run were ended from outside (SIGTERM), or one of another machine is gone")
        own = Note(self.ranks.rank, kind_of(error), str(error) if isinstance(error, DivergedError) else f"{type(error).__name__}: {error}")
        with suppress(RuntimeError):  # the store is gone with its host
            self.ranks.store.compare_set(NOTE, "", json.dumps(asdict(own)))
        return own

    def told(self) -> Note | None:
        """The note of the process that failed first."""
        try:
            return Note(**json.loads(self.ranks.store.get(NOTE))) if self.ranks.store.check([NOTE]) else None
        except RuntimeError:
            return None

    def missed(self) -> Note | None:
        """A process of this machine that is no more."""
        for rank, pid in self._places.items():
            if not _lives(pid):
                return Note(rank, "killed", "it ended without a word (killed, or the machine had no memory left)")
        return None

    def mark(self, note: Note) -> None:
        """Write the failure down, unless it is one that a person asked for."""
        if self.ranks.first and note.kind != "stopped" and self._once.acquire(blocking=False):
            self._mark(note.kind, str(note))

    def _listen(self) -> None:
        """Let SIGTERM raise Terminated in the first process, and start the thread."""
        heard = threading.Event()
        if self.ranks.first and threading.current_thread() is threading.main_thread():
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            ours.settimeout(LOOK)
            wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            before = signal.signal(signal.SIGTERM, self._terminate)
            self._restore = [lambda: signal.signal(signal.SIGTERM, before), lambda: signal.set_wakeup_fd(wakeup), theirs.close]
        else:
            ours = None
        threading.Thread(target=self._look, args=(ours, heard), name="watch", daemon=True).start()

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        if not self._leaving:
            raise Terminated

    def _look(self, signals: socket.socket | None, heard: threading.Event) -> None:
        """End this process where it does not do so by itself: it may be waiting where no error and no signal gets through."""
        while not self._over.is_set():
            if signals is None:
                self._over.wait(LOOK)
            else:
                with suppress(TimeoutError):
                    if signal.SIGTERM in signals.recv(64):
                        heard.set()
            if heard.is_set() or self.told() is not None or self.missed() is not None:
                break
        if not self._over.wait(self.grace):
            note = self.explain(Terminated())
            self.mark(note)
            if self.ranks.first:
                print(f"bench: {note}; {REMEDY}", file=sys.stderr, flush=True)
            os._exit(1)


def kind_of(error: BaseException) -> str:
    """The kind of failure that a run is marked with."""
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    return "memory" if isinstance(error, MemoryError | torch.OutOfMemoryError) else "error"


def _lives(pid: int) -> bool:
    """Whether a process is there and is no mere entry that its parent has not read yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] not in "ZX"
    return True
