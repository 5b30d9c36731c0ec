"""Logs that are damaged, empty or hold what is no number: named with file and line, or counted, and never half imported."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from test_importing import LOGS, brought
from typer.testing import CliRunner

from bench import trials
from bench.cli import app
from bench.errors import ConfigError, MissingError, StoreError
from bench.run_folder import read_records

EVENTS = next(LOGS.glob("cleanrl/*ppo__1__*/*"))


def damaged(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder


def refused(tmp_path: Path, library: str, source: Path, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        brought(tmp_path / "results", source, library, seed=0)
    assert trials.read(tmp_path / "results") == []


def test_a_torn_or_foreign_trainer_state_is_named(tmp_path: Path) -> None:
    whole = (LOGS / "trl" / "seed_0" / "trainer_state.json").read_bytes()
    refused(tmp_path, "trl", damaged(tmp_path / "torn", "trainer_state.json", whole[:-300]), r"torn/trainer_state.json .*JSONDecodeError")
    refused(tmp_path, "trl", damaged(tmp_path / "empty", "trainer_state.json", b""), "is empty")
    refused(tmp_path, "trl", damaged(tmp_path / "other", "trainer_state.json", b'{"epoch": 1}'), "log_history")
    odd = json.dumps({"log_history": [{"step": 1, "loss": 0.5}, {"loss": 0.5}]}).encode()
    refused(tmp_path, "trl", damaged(tmp_path / "odd", "trainer_state.json", odd), "entry 2 of log_history")


def test_values_that_are_not_finite_are_counted_and_left_out(tmp_path: Path) -> None:
    history = [{"step": 1, "entropy": float("nan"), "reward": 0.5}, {"step": 2, "entropy": 1.5, "kl": float("inf"), "reward": None}]
    source = damaged(tmp_path / "seed_0", "trainer_state.json", json.dumps({"log_history": history}).encode())
    (one,) = brought(tmp_path / "results", source, "trl")
    first, second = read_records(one.folder)
    assert "entropy/token" not in first.probes and "kl_ref/k3" not in second.probes and second.train_score is None
    assert any("2 values were not finite" in note for note in one.notes)
    (trial,) = trials.read(tmp_path / "results")
    assert trial.provenance["imported"]["dropped"] == 2


def test_a_last_line_that_was_cut_is_left_out_and_one_before_it_is_an_error(tmp_path: Path) -> None:
    lines = (LOGS / "verl" / "seed_0.jsonl").read_bytes().splitlines(keepends=True)
    torn = damaged(tmp_path / "torn", "a.jsonl", b"".join(lines[:-1]) + lines[-1][:100])
    (one,) = brought(tmp_path / "results", torn, "verl", seed=0)
    assert read_records(one.folder)[-1].step == 7 and any("line 9 was cut" in note for note in one.notes)
    broken = damaged(tmp_path / "broken", "a.jsonl", lines[0] + lines[1][:100] + b"\n" + lines[2])
    with pytest.raises(StoreError, match=r"broken/a.jsonl line 2 cannot be read"):
        brought(tmp_path / "other", broken, "verl", seed=0)


def test_a_console_line_that_is_no_metric_is_named(tmp_path: Path) -> None:
    text = b"step:1 - actor/entropy:0.5\nstep:2 - actor/entropy:0.5 - actor/gr(pid=3) other\n"
    refused(tmp_path, "verl", damaged(tmp_path, "a.log", text), r"a.log line 2 .*actor/gr\(pid=3\) other")
    cut = b"step:1 - actor/entropy:0.5\nstep:2 - actor/entropy:0."
    (one,) = brought(tmp_path / "results", damaged(tmp_path / "cut", "b.log", cut), "verl", seed=0)
    assert [record.step for record in read_records(one.folder)] == [1], "0. may have been 0.5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("time/total_timesteps", "x"), "progress.csv line 1 .*no column time/total_timesteps"),
        (lambda text: text.replace(",,512,,", ",512,,"), r"progress.csv line 3 .*17 values for 18 columns"),
        (lambda text: text.replace("70.4", "7o.4", 1), "progress.csv line 3 .*7o.4"),
    ],
)
def test_a_damaged_progress_file_is_named(tmp_path: Path, change: Any, message: str) -> None:
    text = (LOGS / "sb3" / "seed_0" / "progress.csv").read_text()
    assert change(text) != text
    refused(tmp_path, "sb3", damaged(tmp_path / "a", "progress.csv", change(text).encode()), message)


def test_damaged_evaluations_and_monitors_are_named(tmp_path: Path) -> None:
    shutil.copytree(LOGS / "sb3" / "seed_0", tmp_path / "a")
    path = tmp_path / "a" / "evaluations.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, "sb3", tmp_path / "a", "evaluations.npz")
    path.write_bytes(whole)
    monitor = tmp_path / "a" / "monitor.csv"
    text = monitor.read_text()
    monitor.write_text(text.replace("\n25.0,25", "\n25.0;25", 1))
    refused(tmp_path, "sb3", tmp_path / "a", "monitor.csv line 3")
    monitor.write_text(text[:-6])
    (one,) = brought(tmp_path / "results", tmp_path / "a", "sb3", seed=0)
    assert any("monitor.csv line" in note and "was cut" in note for note in one.notes)


def test_event_files_that_were_cut_are_read_up_to_there_and_damaged_ones_named(tmp_path: Path) -> None:
    """TensorBoard itself stops at either without a word."""
    pytest.importorskip("tensorboard")
    whole = EVENTS.read_bytes()
    cut = damaged(tmp_path / "cut", EVENTS.name, whole[:-20])
    (one,) = brought(tmp_path / "results", cut, "tensorboard", seed=0, score="charts/episodic_return")
    assert any("was cut at byte" in note for note in one.notes)
    records = read_records(one.folder)
    assert records[-1].step == 1024 and "tensorboard/charts/SPS" not in records[-1].probes, "the last record was the last value's"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    with pytest.raises(StoreError, match=r"at byte \d+ cannot be read \(its checksum is wrong\)"):
        brought(tmp_path / "other", damaged(tmp_path / "flipped", EVENTS.name, bytes(flipped)), "tensorboard", seed=0)
    with pytest.raises(StoreError, match="no record in it"):
        brought(tmp_path / "other", damaged(tmp_path / "short", EVENTS.name, struct.pack("<Q", 5)), "tensorboard", seed=0)


def test_without_tensorboard_the_pip_line_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    with pytest.raises(MissingError, match=r'pip install "rl-bench-suite\[track\]"'):
        brought(tmp_path, EVENTS.parent, "cleanrl")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        brought(tmp_path, tmp_path / "nowhere", "trl")
    with pytest.raises(ConfigError, match=r"no log of verl in .*another --from"):
        brought(tmp_path / "results", LOGS / "sb3", "verl")
    with pytest.raises(ConfigError, match="--task is 'a/b'"):
        brought(tmp_path, LOGS / "trl", "trl", task="a/b")


def test_the_command_imports_lists_and_says_what_is_there_already(tmp_path: Path) -> None:
    call = ["import", str(LOGS / "trl"), "--from", "trl", "--task", "gsm8k", "--algo", "grpo", "--results", str(tmp_path)]
    first, again = CliRunner().invoke(app, call), CliRunner().invoke(app, [*call, "--json"])
    assert first.exit_code == again.exit_code == 0, first.output + again.output
    assert "seed 0: 12 records, score 0.375 (eval_reward)" in first.output
    lines = [json.loads(line) for line in again.output.splitlines()]
    assert [(line["seed"], line["new"], line["score"]) for line in lines] == [(0, False, 0.375), (1, False, 0.40625)]
    listed = CliRunner().invoke(app, ["ls", "runs", "--results", str(tmp_path)], env={"COLUMNS": "200"})
    assert listed.output.count("gsm8k-trl") == 2 and listed.output.count("finished") == 2
    resumed = CliRunner().invoke(app, ["resume", lines[0]["run_id"], "--results", str(tmp_path)])
    assert isinstance(resumed.exception, ConfigError) and "imported from a log of trl" in str(resumed.exception)
