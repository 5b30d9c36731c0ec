"""Runs as reporting reads them: the same as the store, faster, and whatever state they are in."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from runs import record, spec, store

from bench.record import Items
from bench.run_folder import COLUMNS, RunFolder
from bench.trials import Trial, read


def run(root: Path, seed: int = 0, steps: int = 4, *, finish: bool = True) -> Path:
    with store(root).open(spec(seed), {"torch": "2"}) as opened:
        for step in range(steps):
            made = record(step)
            opened.append(made if made.eval_score is None else replace(made, items=Items("k", (0.0, 0.4))), [{"text": "a"}])
        if finish:
            opened.finish({"score": 0.2})
        return opened.path


def only(root: Path) -> Trial:
    (found,) = read(root)
    return found


def test_a_trial_holds_what_the_store_holds(tmp_path: Path) -> None:
    folder = run(tmp_path)
    trial, frame = only(tmp_path), store(tmp_path).frame()
    assert (trial.table, trial.algorithm, trial.seed, trial.state, trial.folder) == ("last_digit-tiny", "grpo", 0, "finished", folder)
    for name in set(frame.columns) - {"table", "algorithm", "run_id", "seed"}:
        assert numpy.array_equal(trial.curve[name], frame[name].to_numpy(float), equal_nan=True), name
    assert set(trial.curve) == set(frame.columns) - {"table", "algorithm", "run_id", "seed"} | {"budget", "diverged"}
    assert set(trial.curve["budget"]) == {100.0} and set(trial.curve["diverged"]) == {0.0}
    assert trial.items() == [(0, Items("k", (0.0, 0.4))), (2, Items("k", (0.0, 0.4)))]
    assert trial.samples() == [{"step": step, "text": "a"} for step in range(4)]
    assert trial.provenance == {"torch": "2", "resumed": []} and trial.spec["budget"] == 100


def test_only_the_columns_asked_for_are_kept(tmp_path: Path) -> None:
    run(tmp_path)
    (trial,) = read(tmp_path, ["eval_score", "gate", "seconds", "nothing", "diverged"])
    assert set(trial.curve) == {"step", "eval_score", "gate", "seconds", "diverged"}
    assert trial.last("eval_score") == 0.2 and math.isnan(trial.last("tokens")) and math.isnan(trial.last("train_score"))


@pytest.mark.filterwarnings("ignore:resource_tracker")  # another test may have killed the one of this process
def test_several_processes_read_the_same(tmp_path: Path) -> None:
    for seed in range(5):
        run(tmp_path, seed)
    one, two = read(tmp_path, workers=1), read(tmp_path, workers=2)
    assert [t.run_id for t in one] == [t.run_id for t in two] and len(one) == 5
    for a, b in zip(one, two, strict=True):
        assert a.curve.keys() == b.curve.keys()
        assert all(numpy.array_equal(a.curve[name], b.curve[name], equal_nan=True) for name in a.curve)


def test_packed_logs_read_as_plain_ones(tmp_path: Path) -> None:
    folder = run(tmp_path)
    plain = only(tmp_path)
    for path in folder.glob("*.jsonl"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    packed = only(tmp_path)
    assert packed.state == "finished" and packed.items() == plain.items() and packed.samples() == plain.samples()
    assert all(numpy.array_equal(packed.curve[name], plain.curve[name], equal_nan=True) for name in plain.curve)
    assert store(tmp_path).runs()[0].last == record(3)
    (folder / "curve.jsonl.gz").write_bytes((folder / "curve.jsonl.gz").read_bytes()[:-20])
    torn = only(tmp_path)
    assert torn.state == "broken" and "curve.jsonl" in (torn.fault or "")


def test_a_run_that_did_not_end_is_no_finished_one(tmp_path: Path) -> None:
    run(tmp_path, finish=False)
    assert only(tmp_path).state == "stopped"
    with store(tmp_path).open(spec(), {}) as opened:
        assert only(tmp_path).state == "running"
        opened.fail("diverged", "training diverged at step 4")
    failed = only(tmp_path)
    assert (failed.state, failed.failure, failed.fault) == ("failed", "diverged", "training diverged at step 4") and failed.diverged
    assert set(failed.curve["diverged"]) == {1.0}
    with store(tmp_path).open(spec(), {}) as opened:
        opened.rewind(None)
    assert only(tmp_path).state == "stopped"


def _cut(folder: RunFolder | Path) -> None:
    assert isinstance(folder, Path)
    whole = (folder / "curve.jsonl").read_bytes()
    (folder / "curve.jsonl").write_bytes(whole[: len(whole) // 2])


def _corrupt(folder: Path) -> None:
    lines = (folder / "curve.jsonl").read_bytes().split(b"\n")
    (folder / "curve.jsonl").write_bytes(b"\n".join([lines[0], b"{nonsense", *lines[2:]]))


def _renamed(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def _no_spec(folder: Path) -> None:
    (folder / "spec.json").write_text('{"spec": {}}')


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (_cut, "has 2 of 4 records: it was cut"),
        (_corrupt, "line 2 is corrupt"),
        (_renamed, "copied or renamed"),
        (_no_spec, "spec.json cannot be read"),
    ],
)
def test_a_broken_run_comes_with_its_reason(break_it: object, says: str, tmp_path: Path) -> None:
    assert callable(break_it)
    break_it(run(tmp_path))
    run(tmp_path, 1)
    broken, whole = sorted(read(tmp_path), key=lambda trial: trial.seed)
    assert (broken.state, broken.seed, whole.state) == ("broken", -1, "finished")
    assert says in (broken.fault or ""), broken.fault


def test_a_run_of_an_older_version_counts_without_what_it_did_not_keep(tmp_path: Path) -> None:
    folder = run(tmp_path)
    (folder / "items.jsonl").unlink()
    held = json.loads((folder / "spec.json").read_text())
    del held["spec"]["reward"]
    del held["spec"]["train"]["measure_kl"]
    (folder / "spec.json").write_text(json.dumps(held))
    trial = only(tmp_path)
    assert trial.state == "finished" and trial.items() == [] and trial.last("eval_score") == 0.2


def test_other_data_among_the_results_is_no_run(tmp_path: Path) -> None:
    run(tmp_path / "board")
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / "h200.json").write_text("{}")
    assert read(tmp_path) == [] and store(tmp_path).runs() == []
    assert len(read(tmp_path / "board")) == 1


def test_no_probe_can_take_the_name_of_a_column() -> None:
    assert {"step", "samples", "eval_score"} < set(COLUMNS) and "items" not in COLUMNS
