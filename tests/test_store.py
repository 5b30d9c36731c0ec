"""What the results folder promises: no half-made file is ever believed, one writer at a time, the same run gives the same bytes."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from bench import checkpoint
from bench.config import Choice, RunSpec
from bench.errors import ConfigError, StoreError
from bench.record import Record
from bench.run_folder import RunFolder
from bench.store import RunStore

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
FORK = multiprocessing.get_context("fork")
AS_ROOT = os.geteuid() == 0


def spec(seed: int = 0, algorithm: str = "grpo") -> RunSpec:
    return RunSpec(
        algorithm=Choice(algorithm),
        task=Choice("last_digit"),
        tier="tiny",
        sampler=Choice("hf"),
        model=Choice("base"),
        seed=seed,
        budget=100,
    )


def record(step: int, seconds: float = 1.5) -> Record:
    return Record(
        step=step,
        samples=8 * step,
        tokens=40 * step,
        verifier_calls=8 * step,
        updates=4 * step,
        seconds=seconds,
        cpu_seconds=seconds,
        train_score=0.1 * step,
        eval_score=0.2 if step % 2 == 0 else None,
        probes={"gate": 1.0, "entropy": 0.3},
    )


def store(root: Path) -> RunStore:
    return RunStore(root, reserve=0)


def save(folder: RunFolder, step: int) -> None:
    folder.checkpoint(step, {"model": {"weight": torch.full((3, 2), float(step))}}, {"step": step, "chance": [1, 2]})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with store(tmp_path).open(spec(), {"bench": "0.1"}) as opened:
        yield opened


def test_records_come_back_with_their_times(folder: RunFolder) -> None:
    written = [record(0), record(1, seconds=2.25)]
    for one in written:
        folder.append(one, [{"prompt": "1+1", "text": "2"}])
    assert folder.records() == written
    assert (folder.path / "samples.jsonl").read_text().splitlines()[1] == '{"prompt":"1+1","step":1,"text":"2"}'


def test_the_curve_repeats_byte_for_byte_whatever_the_clock_says(tmp_path: Path) -> None:
    texts = []
    for name, seconds in (("a", 1.0), ("b", 7.5)):
        with store(tmp_path / name).open(spec(), {}) as opened:
            for step in range(4):
                opened.append(record(step, seconds))
            texts.append((opened.path / "curve.jsonl").read_bytes())
    assert texts[0] == texts[1]
    assert b"seconds" not in texts[0] and b" " not in texts[0]


def test_a_value_that_is_not_finite_is_refused_before_anything_is_written(folder: RunFolder) -> None:
    folder.append(record(0))
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    wrong = Record(1, 8, 40, 8, 4, 1.0, 1.0, 0.5, None, {"entropy": math.nan})
    with pytest.raises(ValueError, match="entropy is nan at step 1"):
        folder.append(wrong)
    with pytest.raises(ValueError, match="does not come after step 0"):
        folder.append(record(0))
    with pytest.raises(ValueError, match="'tokens' has the name of a column"):
        folder.append(Record(1, 8, 40, 8, 4, 1.0, 1.0, 0.5, None, {"tokens": 1.0}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.append(record(1), [{"reward": math.inf}])
    assert before == {path.name: path.read_bytes() for path in folder.path.iterdir()}


@pytest.mark.parametrize("tail", ['{"step":2,"sam', '{"step":2,"sam\n', "\0\0\0\0", "\n"])
def test_readers_ignore_a_torn_last_line(folder: RunFolder, tail: str) -> None:
    folder.append(record(0))
    folder.append(record(1))
    for name in ("curve.jsonl", "timing.jsonl"):
        with (folder.path / name).open("a") as file:
            file.write(tail)
    assert folder.records() == [record(0), record(1)]


def test_a_torn_line_is_cut_off_when_the_run_is_opened_again(tmp_path: Path) -> None:
    with store(tmp_path).open(spec(), {}) as opened:
        opened.append(record(0))
        path = opened.path
    for name in ("curve.jsonl", "timing.jsonl", "samples.jsonl"):
        with (path / name).open("a") as file:
            file.write('{"step":1,')
    with store(tmp_path).open(spec(), {}) as opened:
        opened.append(record(1))
        assert opened.records() == [record(0), record(1)]


@pytest.mark.parametrize("name", ["curve.jsonl", "timing.jsonl"])
def test_corruption_in_the_middle_names_file_and_line(folder: RunFolder, name: str) -> None:
    for step in range(3):
        folder.append(record(step))
    lines = (folder.path / name).read_text().splitlines(keepends=True)
    (folder.path / name).write_text(lines[0] + lines[1][:9] + "\n" + lines[2])
    with pytest.raises(StoreError, match=f"{name} line 2 is corrupt"):
        folder.records()


def test_a_line_that_is_not_a_record_is_named(folder: RunFolder) -> None:
    (folder.path / "curve.jsonl").write_text('{"step":0}\n{"step":1}\n')
    with pytest.raises(StoreError, match=r"curve\.jsonl line 1 is not a record"):
        folder.records()


def test_a_missing_time_is_nan(folder: RunFolder) -> None:
    folder.append(record(0))
    (folder.path / "timing.jsonl").unlink()
    (found,) = folder.records()
    assert math.isnan(found.seconds) and math.isnan(found.cpu_seconds)
    assert found.samples == record(0).samples


def test_a_checkpoint_comes_back_and_replaces_the_older_one(folder: RunFolder) -> None:
    assert folder.latest() is None
    save(folder, 1)
    save(folder, 2)
    assert [path.name for path in (folder.path / "checkpoint").iterdir()] == ["2"]
    found = folder.latest()
    assert found is not None and found.step == 2
    assert found.state == {"step": 2, "chance": [1, 2]}
    assert torch.equal(found.tensors("model")["weight"], torch.full((3, 2), 2.0))
    with pytest.raises(KeyError, match="critic"):
        found.tensors("critic")


def test_tied_and_transposed_tensors_survive(folder: RunFolder) -> None:
    tied = torch.arange(4.0)
    folder.checkpoint(1, {"model": {"a": tied, "b": tied, "c": tied.view(2, 2).T}}, {})
    found = folder.latest()
    assert found is not None
    held = found.tensors("model")
    assert torch.equal(held["a"], tied) and torch.equal(held["b"], tied)
    assert torch.equal(held["c"], torch.tensor([[0.0, 2.0], [1.0, 3.0]]))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_never_used(folder: RunFolder, name: str, damage: Callable[[Path], None]) -> None:
    save(folder, 3)
    good = folder.path / "checkpoint" / "3"
    kept = folder.path / "kept"
    good.rename(kept)
    save(folder, 7)
    kept.rename(good)
    damage(folder.path / "checkpoint" / "7" / name)
    found = folder.latest()
    assert found is not None and found.step == 3
    assert len(folder.warnings) == 1 and "checkpoint/7 is damaged" in folder.warnings[0]
    assert [path.name for path in (folder.path / "checkpoint").iterdir()] == ["3"]


def test_every_flipped_byte_of_a_manifest_is_noticed(folder: RunFolder) -> None:
    save(folder, 3)
    path = folder.path / "checkpoint" / "3" / "manifest.json"
    data = path.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 4
        path.write_bytes(bytes(changed))
        with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
            checkpoint.load(path.parent, 3)
    path.write_bytes(data)
    assert folder.latest() is not None


def test_what_an_interrupted_save_leaves_is_removed(folder: RunFolder) -> None:
    save(folder, 3)
    (folder.path / "checkpoint" / ".tmp-4").mkdir()
    (folder.path / "checkpoint" / ".tmp-4" / "model.safetensors").write_bytes(b"half")
    found = folder.latest()
    assert found is not None and found.step == 3
    assert folder.warnings == []
    assert [path.name for path in (folder.path / "checkpoint").iterdir()] == ["3"]


def test_rewind_cuts_every_log_to_the_checkpoint(folder: RunFolder) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.path.glob("*.jsonl")}

    for step in range(3):
        folder.append(record(step), [{"text": str(step)}] * step)
    save(folder, 2)
    covered = contents()
    for step in (3, 4):
        folder.append(record(step), [{"text": "later"}])
    with (folder.path / "curve.jsonl").open("a") as file:
        file.write("torn")
    folder.rewind(folder.latest())
    assert contents() == covered
    folder.append(record(3))
    assert [one.step for one in folder.records()] == [0, 1, 2, 3]


def test_rewind_to_nothing_starts_over(folder: RunFolder) -> None:
    folder.append(record(0), [{"text": "a"}])
    save(folder, 0)
    folder.finish({})
    folder.rewind(None)
    assert (folder.records(), folder.latest(), folder.finished) == ([], None, False)
    folder.append(record(0))


def test_rewind_notices_a_log_that_was_cut_from_outside(folder: RunFolder) -> None:
    folder.append(record(0))
    save(folder, 0)
    (folder.path / "curve.jsonl").write_text("")
    with pytest.raises(StoreError, match=r"curve\.jsonl has 0 bytes, but the checkpoint covers .* remove .* to run from the start"):
        folder.rewind(folder.latest())


def test_finished_needs_a_whole_done_file(folder: RunFolder) -> None:
    assert not folder.finished
    folder.append(record(0))
    folder.finish({"final_score": 0.5})
    assert folder.finished
    _truncate(folder.path / "done.json")
    assert not folder.finished


def test_reopening_notes_the_machine_and_refuses_another_specification(tmp_path: Path) -> None:
    runs = store(tmp_path)
    runs.open(spec(), {"torch": "1"}).close()
    runs.open(spec(), {"torch": "2"}).close()
    (info,) = runs.runs()
    assert info.provenance == {"torch": "1", "resumed": [{"torch": "2"}]}
    held = json.loads((info.folder / "spec.json").read_text())
    held["spec"]["budget"] = 7
    (info.folder / "spec.json").write_text(json.dumps(held))
    with pytest.raises(StoreError, match=r"another specification \(it differs in budget\)"):
        runs.open(spec(), {})
    with pytest.raises(StoreError, match="another specification"):  # and no lock is left behind
        runs.open(spec(), {})


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        store(tmp_path).open(spec(), {"not": object()})
    assert list((tmp_path / "last_digit-tiny" / "grpo").iterdir()) == []


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


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file is not a folder; choose another results folder"):
        store(tmp_path / "file").open(spec(), {})
    with pytest.raises(StoreError, match="file is not a folder"):
        store(tmp_path / "file" / "below").open(spec(), {})


def test_too_little_space_is_noticed_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"MB free, .* MB are needed; free some space"):
        RunStore(tmp_path / "results", reserve=2**62).open(spec(), {})
    assert list(tmp_path.iterdir()) == []


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
        for parent in (tmp_path, *tmp_path.parents[:2]):
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


def test_runs_lists_states_and_survives_broken_folders(tmp_path: Path) -> None:
    runs = store(tmp_path)
    assert runs.runs() == []
    with runs.open(spec(0), {}) as opened:
        opened.append(record(0))
        opened.append(record(1))
        opened.finish({"final_score": 0.25})
    runs.open(spec(1), {}).close()
    running = runs.open(spec(0, "ppo"), {})
    broken = tmp_path / "last_digit-tiny" / "grpo" / "broken"
    broken.mkdir()
    (broken / "spec.json").write_text("{")
    found = {(info.folder.parent.name, info.run_id): info for info in runs.runs()}
    finished = found["grpo", spec(0).run_id]
    assert (finished.state, finished.count, finished.last, finished.spec) == ("finished", 2, record(1), spec(0))
    assert finished.summary == {"final_score": 0.25}
    assert found["grpo", spec(1).run_id].state == "stopped"
    assert found["ppo", spec(0, "ppo").run_id].state == "running"
    assert "spec.json cannot be read" in (found["grpo", "broken"].error or "")
    assert [info.run_id for info in runs.runs(algorithm="ppo")] == [spec(0, "ppo").run_id]
    assert [info.run_id for info in runs.runs(seed=1, state="stopped")] == [spec(1).run_id]
    assert len(runs.runs(state="broken")) == 1
    with pytest.raises(ConfigError, match="Did you mean 'seed'"):
        runs.runs(sed=1)
    running.close()


def test_find_by_prefix(tmp_path: Path) -> None:
    runs = store(tmp_path)
    ids = []
    for seed in range(20):  # more than sixteen: two share their first digit
        runs.open(spec(seed), {}).close()
        ids.append(spec(seed).run_id)
    assert runs.find(ids[3]).spec == spec(3)
    shortest = next(ids[3][:n] for n in range(1, 13) if sum(one.startswith(ids[3][:n]) for one in ids) == 1)
    assert runs.find(shortest).run_id == ids[3]
    digit = next(d for d in "0123456789abcdef" if sum(one.startswith(d) for one in ids) > 1)
    with pytest.raises(StoreError, match="give more digits"):
        runs.find(digit)
    misspelt = ids[3][:-1] + ("0" if ids[3][-1] != "0" else "1")
    with pytest.raises(ConfigError, match=f"no run in .* called '{misspelt}'. Did you mean '{ids[3]}'"):
        runs.find(misspelt)
    with pytest.raises(ConfigError, match="no run in"):
        runs.find("")


def test_the_frame_is_tidy(tmp_path: Path) -> None:
    runs = store(tmp_path)
    assert list(runs.frame().columns[:5]) == ["table", "algorithm", "run_id", "seed", "step"]
    with runs.open(spec(3), {}) as opened:
        opened.append(record(0))
        opened.append(record(1))
    frame = runs.frame()
    assert frame[["table", "algorithm", "run_id", "seed", "step", "tokens", "gate"]].values.tolist() == [
        ["last_digit-tiny", "grpo", spec(3).run_id, 3, 0, 0, 1.0],
        ["last_digit-tiny", "grpo", spec(3).run_id, 3, 1, 40, 1.0],
    ]
    assert frame["eval_score"].isna().tolist() == [False, True]
    assert frame["eval_score"].dtype == float


def test_the_store_imports_neither_torch_nor_pandas() -> None:
    code = "import sys, bench.store; print([name for name in ('torch', 'pandas', 'safetensors', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert done.stdout.strip() == "[]"
