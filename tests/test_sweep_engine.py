"""What a sweep makes of what its crew tells, and what a person sees of it; the crew is scripted."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from sweeping import Heard, planned
from typer.testing import CliRunner

from bench.cli import app
from bench.store import RunStore
from bench.sweep.costs import Costs, duration
from bench.sweep.engine import Sweep
from bench.sweep.events import Event
from bench.sweep.jobs import Job
from bench.sweep.screen import Board, Lines, summary
from bench.sweep.tally import Tally

KILLED = ("failed", "killed")


class Scripted:
    """A crew of one that lets each attempt at a run end as it was told to."""

    def __init__(self, ends: dict[str, list[tuple[str, str | None]]]) -> None:
        self.ends, self.order, self.job = ends, list[str](), deque[Job]()

    @property
    def busy(self) -> int:
        return len(self.job)

    def takes(self, job: Job) -> bool:
        return not self.job

    def start(self, job: Job) -> None:
        self.job.append(job)
        self.order.append(job.title)

    def poll(self, seconds: float) -> list[tuple[Job, Event | None]]:
        job = self.job.popleft()
        found: list[tuple[Job, Event | None]] = []
        for spec in job.specs:
            kind, failure = self.ends.get(spec.run_id, [("finished", None)]).pop(0)
            found.append((job, Event(kind, spec.run_id, 160, 0.5, 20.0, f"because of {failure}" if failure else "", failure)))  # type: ignore[arg-type]
        return [*found, (job, None)]

    def close(self) -> None:
        return None


def led(jobs: list[Job], root: Path, *ends: list[tuple[str, str | None]]) -> tuple[Heard, Scripted]:
    """The sweep of jobs whose first runs end as told."""
    crew = Scripted({job.specs[0].run_id: told for job, told in zip(jobs, ends, strict=False)})
    store = RunStore(root, 0)
    heard = Heard(Tally(jobs, store))
    Sweep(jobs, store, heard.hear).run(crew)
    return heard, crew


def test_what_may_not_come_back_is_tried_once_more_after_all_others(tmp_path: Path) -> None:
    jobs = planned()
    ends = [[KILLED, ("finished", None)], [KILLED, KILLED], [("failed", "error")], [("failed", "memory"), ("finished", None)]]
    heard, crew = led(jobs, tmp_path, *ends)  # type: ignore[arg-type]
    assert crew.order == [job.title for job in (*jobs, jobs[0], jobs[1], jobs[3])]
    assert [heard.tally.runs[job.specs[0].run_id].state for job in jobs] == ["finished", "failed", "failed", "finished"]
    assert [event.kind for event in heard.events if event.run == jobs[1].specs[0].run_id] == ["started", "again", "started", "failed"]


def test_what_diverges_is_not_tried_again(tmp_path: Path) -> None:
    heard, crew = led(planned(), tmp_path, [("diverged", None)])
    assert len(crew.order) == 4 and heard.tally.count() == {"finished": 3, "diverged": 1}


def test_what_another_is_at_comes_last(tmp_path: Path) -> None:
    jobs = planned()
    heard, crew = led(jobs, tmp_path, [("busy", None), ("finished", None)])
    assert crew.order == [job.title for job in (*jobs, jobs[0])]
    assert heard.tally.count() == {"finished": 4}


def test_of_seeds_that_train_together_those_that_ended_do_not_begin_again(tmp_path: Path) -> None:
    (job,) = planned(algo="ppo", task="cartpole", tier=None, seeds="0..2", set=(), budget=None)
    _, crew = led([job], tmp_path, [("finished", None)])
    assert crew.order == ["ppo on cartpole, seeds 0..2"]
    crew = Scripted({job.specs[1].run_id: [KILLED, ("finished", None)]})  # type: ignore[list-item]
    Sweep([job], RunStore(tmp_path), lambda event: None).run(crew)
    assert crew.order == ["ppo on cartpole, seeds 0..2", "ppo on cartpole, seed 1"]


def test_a_line_for_all_that_happens_to_a_cell(tmp_path: Path) -> None:
    out, jobs = StringIO(), planned(seeds="0")
    tally = Tally(jobs, RunStore(tmp_path))
    lines = Lines(tally, Console(file=out, width=200))
    first, second = (job.specs[0].run_id for job in jobs)
    lines.hear(Event("started", first))
    lines.hear(Event("record", first, 80, 0.25, 10.0))
    lines.hear(Event("again", first, reason="killed by signal 9", failure="killed"))
    lines.hear(Event("finished", first, 160, 0.5, 20.0))
    lines.hear(Event("failed", second, reason="[no] such file", failure="error"))
    assert out.getvalue().splitlines() == [
        "[0/2] gspo on last_digit-tiny, seed 0: started",
        "[0/2] gspo on last_digit-tiny, seed 0: killed by signal 9; it is tried once more",
        "[1/2] gspo on last_digit-tiny, seed 0: finished, score 0.500, 20 s",
        "[2/2] grpo on last_digit-tiny, seed 0: failed: [no] such file",
    ]


def test_the_board_shows_states_progress_and_what_is_left(tmp_path: Path) -> None:
    out, jobs = StringIO(), planned()
    tally = Tally(jobs, RunStore(tmp_path))
    console = Console(file=out, width=120, height=40, force_terminal=True, color_system=None)
    board = Board(tally, console, 2)
    runs = [job.specs[0].run_id for job in jobs]
    board.hear(Event("finished", runs[0], 160, 0.5, 20.0))
    board.hear(Event("started", runs[1]))
    board.hear(Event("record", runs[1], 80, 0.25, 10.0))
    board.hear(Event("failed", runs[2], reason="no such file; make it", failure="error"))
    console.print(board.picture())
    shown = out.getvalue()
    assert "gspo on last_digit-tiny, seed 1: failed: no such file; make it" in shown
    rows = [line.split() for line in shown.splitlines() if "│" in line]
    assert rows == [["gspo", "│", "●×", "0.500"], ["grpo", "│", "◐·"]]  # noqa: RUF001
    (running,) = [line for line in shown.splitlines() if "%" in line]
    assert "grpo on last_digit-tiny 0" in running and " 50%" in running and "score 0.250" in running and "10 s left" in running
    assert "1 finished  ◐ 1 running  · 1 waiting  × 1 failed   about 15 s left" in shown  # noqa: RUF001
    summary(tally, console)
    assert f"gspo on last_digit-tiny, seed 1 ({runs[2]}), failed: no such file; make it" in out.getvalue()


def test_a_board_of_many_seeds_counts_them_and_one_too_high_shows_what_is_left(tmp_path: Path) -> None:
    jobs = planned(algo="gspo,grpo,ppo,rloo", seeds="0..19")
    tally, out = Tally(jobs, RunStore(tmp_path)), StringIO()
    for job in jobs:
        if job.label != "ppo" or job.specs[0].seed < 7:
            tally.hear(Event("finished", job.specs[0].run_id, 160, 0.5, 20.0))
    console = Console(file=out, width=100, height=10, force_terminal=True, color_system=None)
    console.print(Board(tally, console, 2).picture())
    assert [line.split() for line in out.getvalue().splitlines() if "│" in line] == [["ppo", "│", "7/20", "0.500"]]


def test_costs_come_from_what_is_most_alike() -> None:
    costs, (mine, other, *_) = Costs(), [job.specs[0] for job in planned()]
    assert costs.seconds(mine) is None
    costs.learn(other, 80, 40.0)
    assert costs.seconds(mine) == 80.0 and costs.seconds(mine, 120) == 20.0
    costs.learn(replace(mine, seed=9), 160, 16.0)
    assert costs.seconds(mine) == 16.0 and costs.seconds(replace(mine, seed=3), 160) == 0.0
    assert [duration(s) for s in (4.4, 600, 12_000, 200_000)] == ["4 s", "10 min", "3 h 20 min", "2 d 7 h"]


def command(*arguments: str) -> list[str]:
    result = CliRunner().invoke(app, ["sweep", *arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output.splitlines()


def test_a_dry_run_shows_each_cell_and_makes_nothing(tmp_path: Path) -> None:
    asked = ["--algo", "grpo,dqn", "--task", "last_digit,cartpole", "--seeds", "0..2", "--tier", "tiny", "--dry-run", "--workers", "2"]
    shown = command(*asked, "--results", str(tmp_path / "r"))
    assert shown[0].startswith("skipped: dqn on last_digit: dqn learns from single transitions")
    assert [line.split()[0] for line in shown if "0..2 to run" in line] == ["grpo", "dqn", "grpo"]
    assert shown[-1] == "9 cells, 9 to run; what they cost is not known before a run of each table has begun"
    lines = [json.loads(line) for line in command(*asked, "--results", str(tmp_path / "r"), "--json")]
    assert lines[0]["event"] == "skipped" and [line["state"] for line in lines[1:]] == ["waiting"] * 9
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--algo", "grpo", "--task", "gsm8k", "--executor", "spark"], "no executor called 'spark'"),
        (["--algo", "grpo", "--task", "gsm8k", "--ray-address", "auto"], "--ray-address auto is for --executor ray"),
        (["--only", "0"], "--only picks lines from a file of jobs"),
    ],
)
def test_options_that_make_no_sense(arguments: list[str], says: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["sweep", *arguments, "--results", str(tmp_path)])
    assert says in str(result.exception)
