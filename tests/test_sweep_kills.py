"""Sweeps whose processes are killed: nothing is lost, nothing is done twice, and the curves are those of a sweep left in peace."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sweeping import Heard, alive, children, content, planned, started, starts, swept

from bench.provenance import provenance
from bench.store import RunStore
from bench.sweep.engine import Sweep
from bench.sweep.events import Event
from bench.sweep.local import LocalCrew
from bench.sweep.slots import Slot
from bench.sweep.tally import Tally


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, ...]]:
    """What the runs come to where nobody disturbs them."""
    root = tmp_path_factory.mktemp("peace")
    heard = swept(planned(), root)
    assert len(heard.of("finished")) == 4 and starts(root) == dict.fromkeys(content(root), 1)
    again = swept(planned(), root)
    assert again.events == [] and again.tally.count() == {"finished": 4}
    return content(root)


def killer(pids: Callable[[], set[int]], times: int) -> Callable[[Event], None]:
    """Kills a worker when it tells of a record in the midst of a run, that often."""
    left = [times]

    def act(event: Event) -> None:
        if event.kind == "record" and event.samples >= 48 and left[0]:
            left[0] -= 1
            for pid in pids():
                os.kill(pid, signal.SIGKILL)

    return act


def test_killed_workers_are_replaced_and_their_runs_taken_up(peace: dict[str, Any], tmp_path: Path) -> None:
    heard = swept(planned(), tmp_path, 1, killer(lambda: children(os.getpid()), 2))
    assert [event.failure for event in heard.of("again")] == ["killed"] * len(heard.of("again")) and len(heard.of("again")) == 2
    assert heard.tally.count() == {"finished": 4}
    assert content(tmp_path) == peace
    assert sorted(starts(tmp_path).values()) == [1, 1, 2, 2]


@pytest.mark.slow
def test_a_run_that_is_killed_twice_has_failed_and_the_next_sweep_takes_it_up(peace: dict[str, Any], tmp_path: Path) -> None:
    victim = planned()[0].specs[0].run_id

    def act(event: Event) -> None:
        if event.kind == "record" and event.run == victim and event.samples >= 16:
            for pid in children(os.getpid()):
                os.kill(pid, signal.SIGKILL)

    heard = swept(planned(), tmp_path, 1, act)
    assert heard.tally.count() == {"finished": 3, "failed": 1}
    (event,) = heard.of("failed")
    assert (
        event.run == victim and event.failure == "killed" and event.reason.startswith("killed by signal 9 (SIGKILL), perhaps out of memory")
    )
    info = RunStore(tmp_path).info(planned()[0].specs[0])
    assert info is not None and (info.state, info.failure, info.error) == ("failed", "killed", event.reason)
    swept(planned(), tmp_path)
    assert content(tmp_path) == peace


def first_record(process: Any) -> dict[str, Any]:
    for line in process.stdout:
        told: dict[str, Any] = json.loads(line)
        if told["event"] == "record" and told.get("samples", 0) >= 16:
            return told
    raise AssertionError(process.stderr.read())


def gone(pids: set[int]) -> None:
    """Wait until they have ended."""
    until = time.monotonic() + 15
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(pids)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), pytest.param(signal.SIGTERM, 130, marks=pytest.mark.slow)]
)
def test_a_sweep_that_is_stopped_leaves_nothing_at_work_and_goes_on(number: int, code: int, peace: dict[str, Any], tmp_path: Path) -> None:
    process = started(tmp_path)
    first_record(process)
    workers = children(process.pid)
    assert len(workers) == 2  # of which one scores completions
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)  # a second or two, on a machine that has nothing else to do
    assert process.returncode == code
    gone(workers)
    if code == 130:
        assert "of 4 cells to go; the same command goes on where they are" in errors and "Traceback" not in errors
    assert not [info for info in RunStore(tmp_path).runs() if info.state == "running"]
    before = content(tmp_path)
    heard = swept(planned(), tmp_path)
    assert content(tmp_path) == peace
    assert len(heard.of("finished")) == 4 - len(before)  # what had ended was not run again
    assert all(count <= 2 for count in starts(tmp_path).values())


def test_two_sweeps_on_one_folder_share_the_cells(peace: dict[str, Any], tmp_path: Path) -> None:
    both: list[Heard] = []

    def one() -> None:
        store, found = RunStore(tmp_path, 0), planned()
        both.append(Heard(Tally(found, store)))
        crew = LocalCrew([Slot(False)], store)
        Sweep(found, store, both[-1].hear).run(crew)
        crew.close()

    threads = [Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [heard.tally.count() for heard in both] == [{"finished": 4}] * 2
    assert content(tmp_path) == peace
    assert starts(tmp_path) == dict.fromkeys(peace, 1)


def test_a_cell_that_another_process_holds_is_put_aside_and_taken_over_once_that_has_died(peace: dict[str, Any], tmp_path: Path) -> None:
    spec = planned()[0].specs[0]
    held = RunStore(tmp_path, 0).open(spec, provenance())
    heard = swept(planned(), tmp_path, 1, lambda event: held.close() if event.kind == "finished" and len(content(tmp_path)) == 3 else None)
    assert [event.run for event in heard.of("busy")] == [spec.run_id]
    assert heard.tally.count() == {"finished": 4} and heard.events[-1].run == spec.run_id
    assert content(tmp_path) == peace
    assert starts(tmp_path) == {run: 1 + (run == spec.run_id) for run in peace}
