"""Work on a report in several processes, each of which has all of it without reading or sending anything."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from bench.report.data import Report
from bench.trials import MANY

Job = TypeVar("Job")
Done = TypeVar("Done")
_held: list[Report] = []  # of a process that was started for this


def spread(report: Report, work: Callable[[Report, Job], Done], jobs: Sequence[Job]) -> list[Done]:
    """`work(report, job)` for each job, in order. `work` is a function of a module; what it gives back is sent, so it should be small.

    With few runs it is done here. With many, processes are forked, which have the report as it is at this moment; what they add to its
    memory stays with them.
    """
    cores = len(os.sched_getaffinity(0))
    if cores == 1 or len(jobs) < 2 or sum(len(entry.trials) for board in report.boards for entry in board.entries) < MANY:
        return [work(report, job) for job in jobs]
    gc.freeze()  # what there is by now stays where it is, so that the processes share it
    try:
        with ProcessPoolExecutor(min(cores, len(jobs)), get_context("fork"), _take, (report,)) as pool:
            return list(pool.map(_do, [work] * len(jobs), jobs))
    finally:
        gc.unfreeze()


def _take(report: Report) -> None:
    _held.append(report)


def _do(work: Callable[[Report, Job], Done], job: Job) -> Done:
    return work(_held[-1], job)
