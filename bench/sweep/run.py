"""A sweep from its jobs to its end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from types import FrameType

from rich.console import Console

from bench.store import RunStore
from bench.sweep.engine import Crew, Sweep
from bench.sweep.jobs import Job
from bench.sweep.screen import Board, Lines, Screen
from bench.sweep.tally import Tally

SIGNALS = ("SIGTERM", "SIGHUP")


def sweep(jobs: Sequence[Job], store: RunStore, hire: Callable[[Sequence[Job]], Crew], tally: Tally, screen: Screen) -> None:
    """Run what is left of the jobs by the crew that `hire` gives for it; how each ended is in the tally.

    Raises StoreError where nothing can be written, KeyboardInterrupt once the crew has ended after Ctrl-C, SIGTERM or SIGHUP: the same
    call goes on.
    """
    left = tally.left(jobs)
    if not left:
        return
    store.check()
    with stoppable(), closing(hire(left)) as crew, screen:
        Sweep(left, store, screen.hear).run(crew)


@contextmanager
def stoppable() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the block as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def screen_for(tally: Tally, console: Console, as_json: bool, workers: int) -> Screen:
    """A table on a terminal, lines elsewhere."""
    return Board(tally, console, workers) if console.is_terminal and not as_json else Lines(tally, console, as_json)
