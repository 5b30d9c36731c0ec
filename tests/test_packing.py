"""Packed runs are the same runs, smaller, and nothing writes to them."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest
from boards import board, finished, spec
from runs import store

from bench import trials
from bench.board.groups import boards
from bench.board.hashing import row_hash, spec_hash
from bench.board.packing import compressed, pack
from bench.errors import StoreError
from bench.run_folder import ITEMS, LOGS, read_records


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_packed_folder_reads_as_the_one_it_came_from(tmp_path: Path) -> None:
    board(tmp_path / "runs", {"grpo": 0.7, "ppo": 0.5}, seeds=range(3))
    checkpoint = next((tmp_path / "runs").glob("*/grpo/*")) / "checkpoint" / "80"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    done = pack(trials.read(tmp_path / "runs"), tmp_path / "packed")
    assert (done.new, done.there, done.left_out) == (6, 0, ())
    there = contents(tmp_path / "packed")
    assert done.bytes == sum(map(len, there.values()))
    assert {name.rpartition("/")[2] for name in there} == {"spec.json", "done.json", *(f"{name}.gz" for name in LOGS)}
    raw, packed = trials.read(tmp_path / "runs"), trials.read(tmp_path / "packed")
    for before, after in zip(raw, packed, strict=True):
        assert (after.state, after.spec, after.provenance, after.seed) == ("finished", before.spec, before.provenance, before.seed)
        assert after.items() == before.items() != []
        assert after.samples() == before.samples() != []
        assert read_records(after.folder) == read_records(before.folder)
        assert {name: column.tolist() for name, column in after.curve.items()}.keys() == before.curve.keys()
        assert all((after.curve[name] == column)[column == column].all() for name, column in before.curve.items())
    assert [row_hash(e.trials) for e in boards(raw)[0].entries] == [row_hash(e.trials) for e in boards(packed)[0].entries]


def test_packing_again_changes_nothing_and_packs_the_packed(tmp_path: Path) -> None:
    board(tmp_path / "runs", {"grpo": 0.7}, seeds=range(2))
    pack(trials.read(tmp_path / "runs"), tmp_path / "packed")
    before = contents(tmp_path / "packed")
    board(tmp_path / "runs", {"grpo": 0.7}, seeds=[2])
    done = pack(trials.read(tmp_path / "runs"), tmp_path / "packed")
    assert (done.new, done.there) == (1, 2)
    assert contents(tmp_path / "packed").items() >= before.items()
    pack(trials.read(tmp_path / "packed"), tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "packed")


def test_compression_has_neither_name_nor_time() -> None:
    data = compressed(b"some text\n" * 100)
    assert gzip.decompress(data) == b"some text\n" * 100
    assert data[3] == 0 and data[4:8] == b"\0\0\0\0"  # flags: no name; RFC 1952, section 2.3
    assert len(data) < 60


def test_another_run_of_that_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    finished(tmp_path / "runs", spec("grpo", 0), [0.1, 0.2])
    pack(trials.read(tmp_path / "runs"), tmp_path / "packed")
    finished(tmp_path / "other", spec("grpo", 0), [0.1, 0.3])
    finished(tmp_path / "other", spec("a2c", 0), [0.1, 0.3])
    before = contents(tmp_path / "packed")
    with pytest.raises(StoreError, match=r"differs from .* in done\.json; remove the one that is wrong"):
        pack(trials.read(tmp_path / "other"), tmp_path / "packed")
    assert contents(tmp_path / "packed") == before


def test_only_what_has_ended_is_packed(tmp_path: Path) -> None:
    for seed, end in enumerate(("finished", "diverged", "stopped", "memory")):
        finished(tmp_path / "runs", spec("grpo", seed), [0.1, 0.2], end=end)
    broken = tmp_path / "runs" / "last_digit-tiny" / "grpo" / "broken"
    broken.mkdir()
    running = store(tmp_path / "runs").open(spec("grpo", 9), {})
    done = pack(trials.read(tmp_path / "runs"), tmp_path / "packed")
    running.close()
    assert done.new == 2
    reasons = {trial.seed: reason for trial, reason in done.left_out}
    assert reasons.keys() == {-1, 2, 3, 9}
    assert reasons[2] == "it was stopped before its end" and reasons[9] == "it is running"
    assert "made up to have ended so: memory" in reasons[3] and "cannot be read" in reasons[-1]
    assert sorted(trial.failure or trial.state for trial in trials.read(tmp_path / "packed")) == ["diverged", "finished"]


def test_a_disk_that_refuses_leaves_no_half_folder(tmp_path: Path) -> None:
    finished(tmp_path / "runs", spec("grpo", 0), [0.1, 0.2])
    (tmp_path / "packed").write_text("a file")
    with pytest.raises(StoreError, match="cannot write"):
        pack(trials.read(tmp_path / "runs"), tmp_path / "packed")


def test_a_packed_run_is_shown_and_never_written(tmp_path: Path) -> None:
    for seed, end in enumerate(("finished", "diverged")):
        finished(tmp_path / "runs", spec("grpo", seed), [0.1, 0.2], end=end)
    pack(trials.read(tmp_path / "runs"), tmp_path / "packed")
    before, runs = contents(tmp_path / "packed"), store(tmp_path / "packed")
    folder = runs.finished(spec("grpo", 0))
    assert folder is not None and [record.eval_score for record in read_records(folder)] == [0.1, None, 0.2]
    assert runs.find(spec("grpo", 0).run_id).count == 3
    with pytest.raises(StoreError, match="is packed: it can be read, but not written; choose another results folder"):
        runs.open(spec("grpo", 1), {})
    assert contents(tmp_path / "packed") == before


def test_the_hash_is_that_of_the_logs_one_after_the_other(tmp_path: Path) -> None:
    folders = [finished(tmp_path, spec("grpo", seed), items=[[0, 1], [1, 1]]) for seed in (11, 2)]
    (entry,) = boards(trials.read(tmp_path))[0].entries
    texts = b"".join((folder / name).read_bytes() for folder in reversed(folders) for name in ("curve.jsonl", "items.jsonl"))
    assert row_hash(entry.trials) == row_hash(reversed(entry.trials)) == hashlib.sha256(texts).hexdigest()[:12]
    with (folders[0] / "timing.jsonl").open("a") as file:
        file.write("{}\n")
    assert row_hash(entry.trials) == hashlib.sha256(texts).hexdigest()[:12]
    with (folders[0] / ITEMS).open("a") as file:
        file.write("{}\n")
    assert row_hash(entry.trials) != hashlib.sha256(texts).hexdigest()[:12]


def test_the_hash_of_a_stored_specification_is_the_run_id(tmp_path: Path) -> None:
    for wanted in (spec("grpo", 3, clip_high=0.28), spec("ppo", 0, "cartpole", tier="control")):
        held = json.loads((finished(tmp_path, wanted, [0.1]) / "spec.json").read_text())
        assert spec_hash(held["spec"]) == wanted.run_id == held["run_id"]
        held["spec"]["budget"] += 1
        assert spec_hash(held["spec"]) != wanted.run_id
