"""Runs in TensorBoard, Weights & Biases and Trackio, through the libraries themselves and read back from what those wrote."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from runs import record, spec, store
from typer.testing import CliRunner

from bench.cli import app
from bench.config import Choice, RunSpec
from bench.errors import ConfigError, MissingError
from bench.record import Record
from bench.tracking.names import values
from bench.tracking.observer import Tracking, tracker
from bench.tracking.wandb import mode

HOME = Path(__file__).resolve().parents[1]
CONTROL = replace(spec(), tier="control", task=Choice("cartpole"))


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """And nothing can be reached."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    yield


def told(root: Path, names: list[str], runs: list[tuple[RunSpec, list[Record]]], error: type[Exception] | None = None) -> list[str]:
    """One call of training: every run observed, and the warnings."""
    warnings: list[str] = []
    held = store(root)
    try:
        with Tracking(names, held, warnings.append) as tracking:
            for wanted, records in runs:
                held.folder(wanted).mkdir(parents=True, exist_ok=True)
                for one in records:
                    tracking.observe(wanted, one)
            if error:
                raise error
    except KeyboardInterrupt:
        pass
    return warnings


def events(folder: Path) -> Any:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return module.EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 5)) for event in events(folder).Scalars(tag)]


def test_a_record_has_our_names_and_those_that_others_know() -> None:
    text = values(spec(), replace(record(2), probes={"entropy/token": 0.5, "reward/mean": 0.25, "len/mean": 9.0, "gate": 0.75}))
    assert (text["entropy/token"], text["entropy"], text["reward"], text["completions/mean_length"], text["gate"]) == (
        0.5,
        0.5,
        0.25,
        9,
        0.75,
    )
    assert text["eval_reward"] == text["eval_score"] == 0.2 and "charts/SPS" not in text and "losses/entropy" not in text
    control = values(CONTROL, replace(record(1), probes={"ep/return": 21.0, "entropy/token": 0.5, "kl_old/k3": 0.01}))
    assert (control["charts/episodic_return"], control["losses/entropy"], control["losses/approx_kl"]) == (21, 0.5, 0.01)
    assert control["charts/SPS"] == 8 / 1.5 and "entropy" not in control and "eval_score" not in control, "an absent value stays absent"


def test_tensorboard_has_every_record_by_samples_and_by_tokens(tmp_path: Path) -> None:
    assert told(tmp_path, ["tensorboard"], [(spec(), [record(step) for step in range(4)])]) == []
    folder = store(tmp_path).folder(spec()) / "tensorboard"
    assert points(folder / "samples", "train_score") == [(0, 0.0), (8, 0.1), (16, 0.2), (24, 0.3)]
    assert points(folder / "tokens", "train_score") == [(0, 0.0), (40, 0.1), (80, 0.2), (120, 0.3)]
    assert points(folder / "samples", "eval_reward") == [(0, 0.2), (16, 0.2)]
    (text,) = events(folder / "samples").Tensors("hyperparameters/text_summary")
    assert b"|algorithm.name|grpo|" in text.tensor_proto.string_val[0]


def test_a_run_that_goes_on_has_each_point_once(tmp_path: Path) -> None:
    """It went back to a checkpoint at step 2, and its first records are shown again."""
    told(tmp_path, ["tensorboard"], [(spec(), [record(step) for step in range(5)])])
    time.sleep(1.1)  # files of one second and process sort by a counter, 10 before 9
    told(tmp_path, ["tensorboard"], [(spec(), [record(step) for step in range(3)])])
    time.sleep(1.1)
    told(tmp_path, ["tensorboard"], [(spec(), [record(step) for step in range(7)])])
    folder = store(tmp_path).folder(spec()) / "tensorboard"
    for axis, width in (("samples", 8), ("tokens", 40)):
        assert [step for step, _ in points(folder / axis, "train_score")] == [width * step for step in range(7)]
    assert len(list((folder / "samples").iterdir())) == 2, "a call with nothing new writes nothing"


def test_a_point_that_a_killed_process_half_wrote_is_shown_once(tmp_path: Path) -> None:
    told(tmp_path, ["tensorboard"], [(spec(), [record(step) for step in range(4)])])
    folder = store(tmp_path).folder(spec()) / "tensorboard"
    (folder / "shown.json").write_text(json.dumps({"step": 2, "samples": 16, "tokens": 80}))
    time.sleep(1.1)  # files of one second and process sort by a counter, 10 before 9
    told(tmp_path, ["tensorboard"], [(spec(), [record(step) for step in range(6)])])
    assert [step for step, _ in points(folder / "samples", "gate")] == [0, 8, 16, 24, 32, 40]


def test_a_run_begun_without_a_tracker_is_shown_from_its_start(tmp_path: Path) -> None:
    told(tmp_path, [], [(spec(), [record(step) for step in range(3)])])
    told(tmp_path, ["tensorboard"], [(spec(), [record(step) for step in range(5)])])
    assert len(points(store(tmp_path).folder(spec()) / "tensorboard" / "samples", "gate")) == 5


def test_seeds_side_by_side_are_runs_of_their_own(tmp_path: Path) -> None:
    other = replace(CONTROL, seed=1)
    told(tmp_path, ["tensorboard"], [(CONTROL, [record(0)]), (other, [record(0)]), (CONTROL, [record(1)]), (other, [record(1)])])
    for one in (CONTROL, other):
        folder = store(tmp_path).folder(one) / "tensorboard"
        assert [path.name for path in folder.iterdir() if path.is_dir()] == ["samples"], "its tokens are its steps"
        assert len(points(folder / "samples", "gate")) == 2


class Failing:
    """A tracker whose library breaks in the middle."""

    needs: tuple[str, ...] = ()
    extra, durable = "none", True
    calls: list[str]

    def start(self, *_: object) -> None:
        pass

    def log(self, record: Record, values: dict[str, float]) -> None:
        Failing.calls.append("log")
        if record.step == 2:
            raise OSError(28, "No space left on device")

    def finish(self, *_: object) -> None:
        Failing.calls.append("finish")
        raise RuntimeError("and once more")


def test_a_tracker_that_fails_is_told_once_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Failing.calls = []
    monkeypatch.setattr("bench.tracking.tensorboard.TensorBoard", Failing)
    (warning,) = told(tmp_path, ["tensorboard"], [(spec(), [record(step) for step in range(6)])])
    assert "--track tensorboard failed (OSError: [Errno 28] No space left on device); training goes on without it" in warning
    assert Failing.calls == ["log", "log", "log", "finish"]


def test_a_stop_by_hand_passes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Tracking([], store(tmp_path), print):
        raise KeyboardInterrupt


def test_unknown_and_missing_trackers_are_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tensorboard'"):
        Tracking(["tensorbord"], store(tmp_path), print)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingError, match=r'--track wandb needs wandb, which is not installed; pip install "rl-bench-suite\[track\]"'):
        Tracking(["wandb"], store(tmp_path), print)
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(MissingError, match=r'pip install "rl-bench-suite\[trackio\]"'):
        tracker("trackio")


def test_weights_and_biases_is_offline_unless_somebody_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mode() == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert mode() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert mode() == "offline", "another server's login"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert mode() == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert mode() is None, "the library reads it itself"


@pytest.mark.slow
def test_weights_and_biases_writes_offline_runs_with_our_id(tmp_path: Path) -> None:
    """Two seeds at once, one of which goes on later; read back from what would be uploaded."""
    pytest.importorskip("wandb")
    other = replace(CONTROL, seed=1)
    assert told(tmp_path, ["wandb"], [(CONTROL, [record(0), record(1)]), (other, [record(0)])]) == []
    assert told(tmp_path, ["wandb"], [(CONTROL, [record(0), record(1), record(2)])]) == []
    folders = sorted((store(tmp_path).folder(CONTROL) / "wandb").glob("wandb/offline-run-*"))
    assert len(folders) == 2 and all(folder.name.endswith(CONTROL.run_id) for folder in folders)
    first, second = (_history(folder) for folder in folders)
    assert [(one["_step"], one["global_step"], one["train_score"]) for one in first] == [(0, 0, 0), (1, 8, 0.1)]
    assert [(one["_step"], one["global_step"], one["tokens"]) for one in second] == [(2, 16, 80)]
    assert len(list((store(tmp_path).folder(other) / "wandb").glob("wandb/offline-run-*"))) == 1


def _history(folder: Path) -> list[dict[str, Any]]:
    """The rows of an offline run's log, once the library's own process has written the end of it."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("*.wandb")
    for _ in range(100):
        entries = []
        for chunk in _chunks(path.read_bytes()):
            entries.append(wandb_internal_pb2.Record())
            entries[-1].ParseFromString(chunk)
        if entries and entries[-1].WhichOneof("record_type") == "exit":
            break
        time.sleep(0.1)
    rows = [entry.history for entry in entries if entry.WhichOneof("record_type") == "history"]
    return [{"_step": row.step.num} | {item.nested_key[0]: json.loads(item.value_json) for item in row.item} for row in rows]


def _chunks(data: bytes) -> Iterator[bytes]:
    """After a head of 7 bytes, blocks of 32 KiB that hold chunks of (checksum, length, kind, data)."""
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # too little is left of the block for another chunk
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole, at = whole + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # all of a record, or the last of it
            yield whole
            whole = b""


TRACKIO = """
import json, sys
from dataclasses import replace
from pathlib import Path
from bench.cli import app
from bench.config import Choice, RunSpec
from bench.record import Record
from bench.store import RunStore
from bench.tracking.observer import Tracking
import trackio
parts = dict(algorithm=Choice("ppo"), task=Choice("cartpole"), sampler=Choice("world"), model=Choice("mlp"))
base = RunSpec(**parts, tier="control", seed=0, budget=9)
record = lambda step: Record(step, 8 * step, 8 * step, 0, step, 1.0, 1.0, step / 10, None, {"ep/return": 20.0 + step})
store, warnings = RunStore(Path(sys.argv[1]), reserve=0), []
for steps in (range(2), range(4)):
    with Tracking(["trackio"], store, warnings.append) as tracking:
        for step in steps:
            for seed in (0, 1):
                store.folder(replace(base, seed=seed)).mkdir(parents=True, exist_ok=True)
                tracking.observe(replace(base, seed=seed), record(step))
from trackio.sqlite_storage import SQLiteStorage
runs = {run.name: SQLiteStorage.get_logs("bench", run.name, run_id=run.id) for run in trackio.Api().runs("bench")}
print(json.dumps({"warnings": warnings, "runs": runs}, default=str))
"""


def test_trackio_has_each_point_once_and_seeds_apart(tmp_path: Path) -> None:
    """In a process of its own: the library looks where to write once, when it is imported."""
    pytest.importorskip("trackio")
    ready = {**os.environ, "PYTHONPATH": str(HOME), "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TRACKIO, str(tmp_path / "results")], capture_output=True, text=True, env=ready, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found["warnings"] == [] and len(found["runs"]) == 2
    for name, history in found["runs"].items():
        assert name.startswith("cartpole-ppo-seed")
        assert [(row["step"], row["global_step"], row["charts/episodic_return"]) for row in history] == [
            (i, 8 * i, 20 + i) for i in range(4)
        ]


def test_the_command_tracks_a_run_and_again_adds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    small = [f"train.{name}" for name in ("prompts=4", "completions=4", "eval_problems=4", "eval_completions=2", "eval_points=1")]
    call = ["run", "--algo", "grpo", "--task", "last_digit", "--tier", "tiny", "--budget", "32", "--results", str(tmp_path), "--json"]
    call += [part for one in small for part in ("--set", one)] + ["--track", "tensorboard"]
    for _ in range(2):
        done = CliRunner().invoke(app, call)
        assert done.exit_code == 0, done.output
    (folder,) = tmp_path.glob("last_digit-tiny/grpo/*/tensorboard/samples")
    (_,) = folder.iterdir()
    assert [step for step, _ in points(folder, "samples")] == [0, 16, 32] and len(points(folder, "entropy")) == 2
    wrong = CliRunner().invoke(app, [*call, "--track", "tensorbord", "--seed", "1"])
    assert isinstance(wrong.exception, ConfigError) and len(list(tmp_path.glob("*/*/*"))) == 1
