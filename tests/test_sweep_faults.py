"""Cells that go wrong, each in its own way, beside one that does not: each is shown with its reason, and stops nothing."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweeping import HOME, QUICK, content, planned, starts, swept
from test_registry import distribution

import bench.run
from bench.config import RunSpec
from bench.errors import DivergedError, StoreError
from bench.store import RunStore
from bench.sweep.events import Event
from bench.sweep.jobs import Job
from bench.sweep.work import perform

FAULTY = '''
import os, signal
from dataclasses import dataclass
from pathlib import Path
from tasks.base import Score
from tasks.last_digit import LastDigit

@dataclass(frozen=True, kw_only=True)
class Faulty(LastDigit):
    """Goes wrong in the midst of training, or where it scores."""
    fault: str = "none"
    once: str = ""  # a file that says that it has gone wrong before

    def problems(self, split, seed):
        for count, problem in enumerate(super().problems(split, seed)):
            if split == "train" and count == 9:
                self.go_wrong()
            yield problem

    def go_wrong(self):
        if self.once and Path(self.once).exists():
            return
        if self.once:
            Path(self.once).touch()
        if self.fault == "memory":
            bytearray(1 << 60)
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "exits":
            print("last words", flush=True)
            os._exit(3)
        if self.fault == "raises":
            raise KeyError("no such thing")

    def score(self, problem, text):
        found = super().score(problem, text)
        return Score(float("nan"), found.correct, found.parts) if self.fault == "nan" else found
'''


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task that goes wrong as it is told to."""
    (tmp_path / "faulty_task.py").write_text(FAULTY)
    distribution(tmp_path, "faulty", "[bench.tasks]\nfaulty = faulty_task:Faulty\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def cell(fault: str, *settings: str, once: Path | None = None, **other: Any) -> list[Any]:
    """The one job of a cell with a fault."""
    own = (f"task.fault={fault}", *settings, *(() if once is None else (f"task.once={once}",)))
    return planned(algo="grpo", task="faulty", seeds="0", model=str(HOME / "tasks/bases/last_digit"), set=(*QUICK, *own), **other)


def test_each_fault_is_told_with_its_reason_and_stops_nothing(faulty: Path) -> None:
    kinds = {
        "memory": cell("memory"),
        "taken up": cell("killed", once=faulty / "once"),
        "exits": cell("exits"),
        "raises": cell("raises"),
        "nan": cell("nan"),
        "diverged": cell("none", "train.lr=1e30"),
        "good": cell("none"),
    }
    ids = {name: job.specs[0].run_id for name, (job,) in kinds.items()}
    names = {run: name for name, run in ids.items()}
    everything = [job for found in kinds.values() for job in found]
    heard = swept(everything, faulty / "results")
    known = {names[run]: run_known for run, run_known in heard.tally.runs.items()}
    states = {"memory": "failed", "taken up": "finished", "exits": "failed", "raises": "failed", "nan": "finished"}
    assert {name: each.state for name, each in known.items()} == states | {"diverged": "diverged", "good": "finished"}
    assert known["memory"].failure == "memory" and known["memory"].reason.startswith("out of memory; let fewer processes run at a time")
    assert known["exits"].reason == "its process ended with exit status 3 after it said: last words"
    assert known["raises"].reason.startswith("KeyError: 'no such thing' (faulty_task.py, line ")
    assert known["nan"].reason.startswith("no verdict on up to 100.0% of completions (NaN, ") and known["nan"].score == 0
    assert known["diverged"].reason.startswith("training diverged at step 1 ") and known["good"].reason == ""
    again = [names[event.run] for event in heard.of("again")]
    assert sorted(again) == ["memory", "taken up"]  # once each; what raises or ends by itself would do so again
    store = RunStore(faulty / "results", 0)
    marks = {name: info.failure for name, (job,) in kinds.items() if (info := store.info(job.specs[0])) is not None}
    failures = {"memory": "memory", "exits": "error", "raises": "error", "diverged": "diverged"}
    assert marks == dict.fromkeys(kinds) | failures
    assert starts(faulty / "results")[ids["diverged"]] == 1
    after = swept(kinds["diverged"] + kinds["good"], faulty / "results")
    assert after.events == []  # both are at their end


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No process started meanwhile can write a longer file: a disk that is full, for whoever writes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_fails_the_cells_and_loses_nothing(tmp_path: Path) -> None:
    with small_files(60_000):
        heard = swept(planned(algo="grpo"), tmp_path / "full")
    assert heard.tally.count() == {"failed": 2}
    for event in heard.of("failed"):
        assert event.failure == "error" and "cannot write" in event.reason
        assert "the same command continues from the last checkpoint" in event.reason
    assert swept(planned(algo="grpo"), tmp_path / "full").tally.count() == {"finished": 2}
    swept(planned(algo="grpo"), tmp_path / "peace")
    assert content(tmp_path / "full") == content(tmp_path / "peace")


def test_with_too_little_space_nothing_is_started(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"MB free, .* are needed; free some space"):
        swept(planned(), tmp_path, reserve=1 << 60)
    assert not list(tmp_path.iterdir())


def test_the_seeds_beside_one_that_diverges_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Gymnasium seeds train together: one job, of which one seed has come to its end."""
    (job,) = planned(algo="dqn", task="cartpole", tier=None, seeds="0..3", budget=2000, set=("train.hidden=8",))
    assert [spec.seed for spec in job.specs] == [0, 1, 2, 3]
    asked: list[list[int]] = []

    def execute(specs: list[RunSpec], store: RunStore, observe: Any) -> list[Any]:
        asked.append([spec.seed for spec in specs])
        for seed in (1, 3):
            if seed in asked[-1]:
                raise DivergedError(f"training of seed {seed} diverged; lower train.lr", seed)
        return [bench.run.Result(tmp_path, [], [], 0.0) for _ in specs]

    monkeypatch.setattr(bench.run, "execute_seeds", execute)
    told: list[Event] = []
    perform(job, RunStore(tmp_path, 0), told.append)
    assert asked == [[0, 1, 2, 3], [0, 2, 3], [0, 2]]
    seeds = {spec.run_id: spec.seed for spec in job.specs}
    assert [(event.kind, seeds[event.run]) for event in told] == [("diverged", 1), ("diverged", 3), ("finished", 0), ("finished", 2)]


def test_a_sweep_shows_its_runs_to_trackers_and_goes_on_without_one_that_fails(tmp_path: Path) -> None:
    """In this process, where TensorBoard's folder of the second run is a file."""
    jobs = [replace(job, track=("tensorboard",)) for job in planned(algo="gspo")]
    assert Job.from_json(jobs[0].to_json()) == jobs[0]
    store, told = RunStore(tmp_path, 0), list[Event]()
    perform(jobs[0], store, told.append)
    first, second = (store.folder(job.specs[0]) for job in jobs)
    assert list((first / "tensorboard").rglob("events.*")) and told[-1].kind == "finished" and not told[-1].reason
    store.open(jobs[1].specs[0], {}).close()
    (second / "tensorboard").write_text("in the way")
    perform(jobs[1], store, told.append)
    assert told[-1].kind == "finished" and "--track tensorboard failed" in told[-1].reason
