"""Hands out jobs until there are none; knows what a failure is worth, and neither processes nor screens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from bench.config import RunSpec
from bench.store import RunStore
from bench.sweep.events import ENDS, Event
from bench.sweep.jobs import Job

TICK = 1.0  # seconds between two looks at runs that others are at
PASSING = ("killed", "memory")  # failures that may not come back once fewer processes are at work


class Crew(Protocol):
    """Whoever runs jobs."""

    @property
    def busy(self) -> int: ...  # jobs at work

    def takes(self, job: Job) -> bool: ...  # whether there is room for it

    def start(self, job: Job) -> None: ...

    def poll(self, seconds: float) -> list[tuple[Job, Event | None]]: ...  # what has become known within that time; None: the job is over

    def close(self) -> None: ...  # ends whatever is at work


class Sweep:
    """The way through a list of jobs.

    A job that is killed gets a second chance after all others. One that another process is at is put aside, and looked at again once
    nothing else is left: then it has either been finished there, or its process has died and it is taken over.
    """

    def __init__(self, jobs: Sequence[Job], store: RunStore, tell: Callable[[Event], None]) -> None:
        self._store, self._tell = store, tell
        self._waiting = {gpu: deque(job for job in jobs if job.gpu == gpu) for gpu in (True, False)}  # neither holds up the other
        self._aside = deque[Job]()
        self._ended: set[str] = set()
        self._again: set[str] = set()  # runs that have had their second chance
        self._elsewhere: set[str] = set()  # runs that another process was at when last tried

    def run(self, crew: Crew) -> None:
        """To the end of all jobs. The caller closes the crew."""
        while True:
            self._hand_out(crew)
            if crew.busy:
                for job, event in crew.poll(TICK):
                    if event is None:
                        self._over(job)
                    else:
                        self._hear(event)
            elif self._aside:
                self._look_again()
            else:
                return

    def _hand_out(self, crew: Crew) -> None:
        for queue in self._waiting.values():
            while queue and crew.takes(queue[0]):
                job = queue.popleft()
                for spec in job.specs:
                    self._tell(Event("started", spec.run_id))
                crew.start(job)

    def _hear(self, event: Event) -> None:
        if event.kind == "failed" and event.failure in PASSING and event.run not in self._again:
            self._again.add(event.run)
            event = replace(event, kind="again")
        if event.kind == "busy":
            self._elsewhere.add(event.run)
        elif event.kind in ENDS:
            self._ended.add(event.run)
        self._tell(event)

    def _over(self, job: Job) -> None:
        left = job.without(self._ended)
        if left is not None:
            found = {spec.run_id for spec in left.specs}
            (self._aside if found & self._elsewhere else self._waiting[left.gpu]).append(left)
            self._elsewhere -= found

    def _look_again(self) -> None:
        """Take what is no longer another's; wait a moment where that is nothing."""
        for _ in range(len(self._aside)):
            job = self._aside.popleft()
            (self._aside if any(map(self._running, job.specs)) else self._waiting[job.gpu]).append(job)
        if self._aside and not any(self._waiting.values()):
            time.sleep(TICK)

    def _running(self, spec: RunSpec) -> bool:
        info = self._store.info(spec)
        return info is not None and info.state == "running"
