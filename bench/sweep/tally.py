"""What is known of every run of a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.config import RunSpec
from bench.run_folder import Failure
from bench.store import RunStore
from bench.sweep.costs import Costs
from bench.sweep.events import Event
from bench.sweep.jobs import Job

State = Literal["finished", "running", "elsewhere", "waiting", "diverged", "failed"]  # elsewhere: another process is at it
STATES: tuple[State, ...] = ("finished", "running", "elsewhere", "waiting", "diverged", "failed")
AFTER: dict[str, State] = {"started": "running", "busy": "elsewhere", "again": "waiting", "record": "running"}


@dataclass
class Known:
    """One run as the sweep sees it."""

    label: str
    spec: RunSpec
    state: State = "waiting"
    samples: int = 0
    score: float | None = None
    seconds: float = 0.0
    reason: str = ""
    failure: Failure | None = None
    before: bool = False  # it had ended when the sweep began

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"{self.label} on {self.spec.table}, seed {self.spec.seed}"


class Tally:
    """All runs of a sweep by id, in the order of its jobs."""

    def __init__(self, jobs: Sequence[Job], store: RunStore) -> None:
        """What the results folder tells of them."""
        self.costs, self.runs = Costs(), dict[str, Known]()
        for job in jobs:
            for spec in job.specs:
                self.runs[spec.run_id] = self._look(job.label, spec, store)

    def _look(self, label: str, spec: RunSpec, store: RunStore) -> Known:
        info = store.info(spec)
        known = Known(label, spec)
        if info is None or info.spec is None:
            return known
        if info.last is not None:
            known.samples, known.seconds = info.last.samples, info.last.seconds
            known.score = next((r.eval_score for r in reversed(info.records()) if r.eval_score is not None), None)
            self.costs.learn(spec, known.samples, known.seconds)
        if info.state == "running":
            known.state = "elsewhere"
        elif info.state == "finished" or info.failure == "diverged":
            known.state, known.before = "finished" if info.state == "finished" else "diverged", True
            known.reason = info.error or ""
        return known

    def left(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs without the runs that have ended: what a sweep has to do."""
        ended = {run for run, known in self.runs.items() if known.state in ("finished", "diverged")}
        return [job for each in jobs if (job := each.without(ended)) is not None]

    def hear(self, event: Event) -> Known:
        """Take in what has become known of a run."""
        known = self.runs[event.run]
        if event.kind in ("finished", "diverged", "failed"):
            known.state = event.kind
        else:
            known.state = AFTER[event.kind]
        if event.samples:
            known.samples, known.seconds = event.samples, event.seconds
            self.costs.learn(known.spec, event.samples, event.seconds)
        known.score = event.score if event.score is not None else known.score
        known.reason, known.failure = event.reason, event.failure
        return known

    def stop(self) -> None:
        """Nothing is at work any more."""
        for known in self.of("running"):
            known.state = "waiting"

    def count(self) -> Counter[State]:
        """Runs in each state."""
        return Counter(known.state for known in self.runs.values())

    def left_seconds(self) -> float | None:
        """What is left to be spent, by one process; None where nothing is known of a run that is left."""
        total = 0.0
        for known in self.runs.values():
            if known.state in ("running", "waiting"):
                one = self.costs.seconds(known.spec, known.samples)
                if one is None:
                    return None
                total += one
        return total

    def of(self, *states: State) -> list[Known]:
        """The runs in one of these states."""
        return [known for known in self.runs.values() if known.state in states]


def score(value: float | None) -> str:
    """Three figures that matter; nothing for none."""
    return "" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
