"""What the results folder promises when processes are killed, disks fill up and permissions are missing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from runs import record, save, spec, store

from bench.errors import StoreError

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
FORK = multiprocessing.get_context("fork")
AS_ROOT = os.geteuid() == 0


def _hold(root: Path, ready: Any) -> None:
    store(root).open(spec(), {})
    ready.set()
    time.sleep(60)


def test_a_second_process_is_told_who_writes_and_a_killed_one_frees_the_run(tmp_path: Path) -> None:
    ready = FORK.Event()
    child = FORK.Process(target=_hold, args=(tmp_path, ready))
    child.start()
    assert child.pid is not None and ready.wait(20)
    try:
        message = (
            f"run {spec().run_id} is being written by process {child.pid} on {socket.gethostname()}; wait for it or choose another seed"
        )
        with pytest.raises(StoreError, match=message):
            store(tmp_path).open(spec(), {})
        assert [info.state for info in store(tmp_path).runs()] == ["running"]
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    assert [info.state for info in store(tmp_path).runs()] == ["stopped"]
    store(tmp_path).open(spec(), {}).close()


def test_a_forked_worker_does_not_keep_its_dead_parents_lock(tmp_path: Path) -> None:
    opened = store(tmp_path).open(spec(), {})
    worker = FORK.Process(target=time.sleep, args=(60,))
    worker.start()
    try:
        time.sleep(0.1)
        opened.close()
        store(tmp_path).open(spec(), {}).close()
    finally:
        worker.kill()
        worker.join()


def _write_for_ever(root: Path) -> None:
    with store(root).open(spec(), {}) as opened:
        found = opened.latest()
        opened.rewind(found)
        step = found.step + 1 if found else 0
        while True:
            opened.append(record(step), [{"text": "x" * 300}])
            if step % 3 == 0:
                save(opened, step)
            step += 1


def test_a_writer_killed_at_any_moment_can_be_taken_up(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    assert save_file is not None  # imported before the fork: the children must not spend their time on it
    chance, reached = Random("kill"), -1
    for _ in range(20):
        child = FORK.Process(target=_write_for_ever, args=(tmp_path,))
        child.start()
        time.sleep(0.02 + 0.15 * chance.random())
        child.kill()
        child.join()
        with store(tmp_path).open(spec(), {}) as opened:
            steps = [one.step for one in opened.records()]
            assert steps == list(range(len(steps)))
            found = opened.latest()
            assert opened.warnings == []
            opened.rewind(found)
            covered = found.step if found else -1
            assert covered >= reached
            assert opened.records() == [record(step) for step in range(covered + 1)]
            reached = covered
            if found:
                assert torch.equal(found.tensors("model")["weight"], torch.full((3, 2), float(found.step)))
    assert reached >= 0


def _open_without_privileges(root: Path, answer: Any) -> None:
    if AS_ROOT:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        store(root).open(spec(), {})
    except StoreError as error:
        answer.send(str(error))
    else:
        answer.send("opened")


def test_an_unwritable_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "results"
    root.mkdir()
    root.chmod(0o555)
    if AS_ROOT:
        for parent in (tmp_path, *tmp_path.parents[:3]):
            parent.chmod(0o755)  # so that the unprivileged child can look at it
    here, there = FORK.Pipe()
    child = FORK.Process(target=_open_without_privileges, args=(root, there))
    child.start()
    assert here.poll(20)
    assert here.recv() == f"{root} is not writable; make it so or choose another results folder"
    child.join()
    assert list(root.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_says_so_and_the_run_goes_on_once_there_is_space(small_disk: Path) -> None:
    opened = store(small_disk).open(spec(), {})
    opened.append(record(0))
    save(opened, 0)
    with pytest.raises(StoreError, match=r"cannot write .*model\.safetensors: No space left on device; free some space, .* same command"):
        opened.checkpoint(1, {"model": {"weight": torch.zeros(2**20)}}, {})
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(b"x" * 2**21)
    with pytest.raises(StoreError, match=r"samples\.jsonl: No space left on device"):
        for step in range(1, 10):
            opened.append(record(step), [{"text": "x" * 5000}])
    assert [one.step for one in opened.records()] == list(range(step))
    opened.close()
    ballast.unlink()
    with store(small_disk).open(spec(), {}) as again:
        found = again.latest()
        again.rewind(found)
        assert found is not None and found.step == 0
        again.append(record(1))
        assert again.records() == [record(0), record(1)]
