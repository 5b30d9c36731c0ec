"""One job, in whatever process it was given to."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from bench.config import RunSpec
from bench.errors import BenchError, BusyError, DivergedError
from bench.record import Record
from bench.run_folder import Failure
from bench.store import RunStore
from bench.sweep.events import Event
from bench.sweep.jobs import Job

NO_VERDICT = ("eval/errors", "verifier/error_frac")
Tell = Callable[[Event], None]


def perform(job: Job, store: RunStore, tell: Tell) -> None:
    """Run a job and tell of each of its runs how it ended; whatever goes wrong is told, marked in the run's folder, and never raised.

    A seed that diverges is left behind, and those that trained beside it go on.
    """
    left = [spec for spec in job.specs if not _ended(spec, store, tell)]
    while left:
        latest: dict[str, Event] = {}
        try:
            _execute(left, job.track, store, tell, latest)
            return
        except DivergedError as error:
            gone = next(spec for spec in left if error.seed in (None, spec.seed))
            left.remove(gone)
            tell(Event("diverged", gone.run_id, *_reached(latest, gone), reason=str(error)))
            continue
        except BusyError as error:
            event = Event("busy", "", reason=str(error))
        except BenchError as error:
            event = Event("failed", "", reason=str(error), failure="error")
        except (Exception, SystemExit) as error:  # a cell is a boundary: a fault in a plug-in stops nothing else
            event = Event("failed", "", reason=_blame(error), failure="memory" if _memory(error) else "error")
        for spec in left:
            _close(spec, store, event, latest, tell)
        return


def _ended(spec: RunSpec, store: RunStore, tell: Tell) -> bool:
    """Whether there is nothing more to do, for another process has done it since the job was made."""
    path = store.finished(spec)
    info = store.info(spec)
    if info is None or info.state == "running":
        return False
    if path is not None:
        tell(Event("finished", spec.run_id, *_last(info.records())))
        return True
    if info.failure == "diverged":
        tell(Event("diverged", spec.run_id, *_last(info.records()), reason=info.error or ""))
        return True
    return False


def _execute(specs: list[RunSpec], track: Sequence[str], store: RunStore, tell: Tell, latest: dict[str, Event]) -> None:
    from bench.run import execute_seeds
    from bench.tracking.observer import Tracking

    for spec in specs:
        store.check_free(spec)

    def observe(spec: RunSpec, record: Record) -> None:
        known = latest.get(spec.run_id)
        score = record.eval_score if record.eval_score is not None or known is None else known.score
        latest[spec.run_id] = Event("record", spec.run_id, record.samples, score, record.seconds)
        tell(latest[spec.run_id])

    lost: list[str] = []  # trackers that failed
    with Tracking(track, store, lost.append) as tracking:
        results = execute_seeds(specs, store, tracking.beside(observe))
    for spec, result in zip(specs, results, strict=True):
        doubts = [*result.warnings, *_doubts(result.records), *lost]
        tell(Event("finished", spec.run_id, *_last(result.records), reason="; ".join(doubts)))


def _doubts(records: list[Record]) -> list[str]:
    """What must not pass without a word: completions on which the verifier had no verdict, and which therefore counted as wrong."""
    share = max((record.probes.get(name, 0.0) for record in records for name in NO_VERDICT), default=0.0)
    return [f"no verdict on up to {share:.1%} of completions (NaN, an error or out of time); they counted as wrong"] if share else []


def _close(spec: RunSpec, store: RunStore, event: Event, latest: dict[str, Event], tell: Tell) -> None:
    """Mark the run's folder and tell; a disk that is full takes no mark, and the run can be taken up without one."""
    if event.failure is not None:
        with suppress(BenchError):
            store.fail(spec, event.failure, event.reason)
    tell(Event(event.kind, spec.run_id, *_reached(latest, spec), reason=event.reason, failure=event.failure))


def _reached(latest: dict[str, Event], spec: RunSpec) -> tuple[int, float | None, float]:
    known = latest.get(spec.run_id)
    return (0, None, 0.0) if known is None else (known.samples, known.score, known.seconds)


def _last(records: list[Record]) -> tuple[int, float | None, float]:
    """Samples, newest score and seconds of a curve."""
    if not records:
        return 0, None, 0.0
    return records[-1].samples, next((r.eval_score for r in reversed(records) if r.eval_score is not None), None), records[-1].seconds


def _memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, torch's on the CPU, or CUDA's."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or "outofmemory" in text or "out of memory" in text or "can't allocate memory" in text


def _blame(error: BaseException) -> str:
    """An error that is no user's fault, with the line that raised it."""
    if _memory(error):
        return "out of memory; let fewer processes run at a time (--workers), or lower train.microbatch"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}; `bench resume` with the run's id shows all of it"


def died(specs: Sequence[RunSpec], store: RunStore, kind: Failure, reason: str) -> list[Event]:
    """Mark the runs whose process has died before their end; what is to be told of them."""
    found = []
    for spec in specs:
        with suppress(BenchError):
            store.fail(spec, kind, reason)
        found.append(Event("failed", spec.run_id, reason=reason, failure=kind))
    return found
