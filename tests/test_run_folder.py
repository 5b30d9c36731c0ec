"""What one run's folder promises: the same run gives the same bytes, and no half-made file is ever believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from runs import record, save, spec, store

from bench import checkpoint
from bench.errors import StoreError
from bench.record import Record
from bench.run_folder import RunFolder


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


def test_what_is_kept_outlives_every_checkpoint(folder: RunFolder) -> None:
    assert folder.kept("judge") is None
    folder.keep("judge", {"weight": torch.ones(2)}, {"accuracy": 0.1 + 0.2})
    save(folder, 1)
    folder.rewind(None)
    held = folder.kept("judge")
    assert held is not None and held[1] == {"accuracy": 0.1 + 0.2} and torch.equal(held[0]["weight"], torch.ones(2))
    assert folder.latest() is None and folder.warnings == []


@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_what_is_kept_is_whole_or_not_there(folder: RunFolder, name: str, damage: Callable[[Path], None]) -> None:
    folder.keep("judge", {"weight": torch.ones(2)}, {"accuracy": 0.5})
    damage(folder.path / "judge" / "0" / name)
    assert folder.kept("judge") is None
    assert len(folder.warnings) == 1 and "judge/0 is damaged" in folder.warnings[0]
    folder.keep("judge", {"weight": torch.zeros(2)}, {"accuracy": 0.5})
    held = folder.kept("judge")
    assert held is not None and torch.equal(held[0]["weight"], torch.zeros(2))
