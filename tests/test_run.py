"""Runs from specification to folder: resume, kills, locks, changed bases."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.config import RunSpec
from bench.errors import ConfigError
from bench.record import Record
from bench.resolve import BASES, Request, resolve
from bench.run import execute
from bench.store import RunStore

SMALL = ("train.prompts=4", "train.completions=4", "train.eval_problems=8", "train.eval_completions=2")


def spec(algorithm: str = "gspo", budget: int = 96, **more: object) -> RunSpec:
    settings = (*SMALL, *more.pop("settings", ()))  # type: ignore[misc]
    return resolve(Request(algorithm=algorithm, task="last_digit", tier="tiny", budget=budget, settings=settings, **more))  # type: ignore[arg-type]


def curve(folder: Path) -> bytes:
    return (folder / "curve.jsonl").read_bytes() + (folder / "samples.jsonl").read_bytes()


def test_a_run_spends_its_budget_and_is_not_run_twice(tmp_path: Path) -> None:
    seen: list[Record] = []
    first = execute(spec(), RunStore(tmp_path), seen.append)
    assert seen == first.records
    assert (first.records[0].step, first.records[0].samples, first.records[-1].samples) == (0, 0, 96)
    assert first.records[0].eval_score is not None
    assert first.records[-1].eval_score is not None
    assert first.folder.relative_to(tmp_path).parts == ("last_digit-tiny", "gspo", spec().run_id)
    written = curve(first.folder)
    again = execute(spec(), RunStore(tmp_path), seen.append)
    assert again.records == first.records
    assert curve(again.folder) == written


class Interrupted(Exception):
    """Stands for whatever ends a process between two records."""


@pytest.mark.parametrize("algorithm", ["gspo", "dapo", "reinforce"])
def test_an_interrupted_run_ends_as_if_it_had_not_been(algorithm: str, tmp_path: Path) -> None:
    """Broken off after every single record in turn: the files are those of an uninterrupted run, byte for byte."""
    settings = {"dapo": ("algo.surplus=carry", "algo.kl=0.01"), "reinforce": ("algo.baseline=ema",)}.get(algorithm, ())
    wanted = spec(algorithm, settings=settings)
    whole = execute(wanted, RunStore(tmp_path / "whole"), lambda record: None)
    for stop in range(len(whole.records)):

        def observe(record: Record, stop: int = stop) -> None:
            if record.step == stop:
                raise Interrupted

        store = RunStore(tmp_path / f"broken-{stop}")
        with pytest.raises(Interrupted):
            execute(wanted, store, observe)
        assert curve(execute(wanted, store, lambda record: None).folder) == curve(whole.folder), stop


def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    """The process itself is killed, twice, at whatever point the curve's growth finds it."""
    command = [
        sys.executable,
        "-m",
        "bench",
        "run",
        "--algo",
        "gspo",
        "--task",
        "last_digit",
        "--tier",
        "tiny",
        "--budget",
        "640",
        "--json",
    ]
    command += [part for setting in SMALL for part in ("--set", setting)] + ["--results"]
    environment = {**os.environ, "PYTHONPATH": str(BASES.parents[1])}
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    broken = tmp_path / "broken"
    for lines in (2, 17):
        process = subprocess.Popen([*command, str(broken)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and sum(p.read_bytes().count(b"\n") for p in broken.glob("*/*/*/curve.jsonl")) < lines:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, str(broken)], check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (a,), (b,) = ([p.parent for p in root.glob("*/*/*/curve.jsonl")] for root in (tmp_path / "whole", broken))
    assert curve(a) == curve(b)
    assert (b / "done.json").exists()


def test_another_seed_or_setting_is_another_run() -> None:
    ids = {spec().run_id, spec(seed=1).run_id, spec(settings=("algo.clip_low=0.05",)).run_id, spec("grpo").run_id, spec(budget=112).run_id}
    assert len(ids) == 5
    assert RunSpec.from_json(json.loads(json.dumps(asdict(spec())))) == spec()


def test_a_changed_start_model_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(BASES / "last_digit", folder)
    wanted = spec(model=str(folder))
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ConfigError, match="not those the run began with"):
        execute(wanted, RunStore(tmp_path / "results"), lambda record: None)


def test_the_specification_records_every_setting() -> None:
    wanted = spec("dapo")
    assert wanted.algorithm.settings["max_rounds"] == 10
    assert wanted.task.settings == {"digits": 4}
    assert wanted.model.name == "base:last_digit"
    assert len(wanted.model.settings["digest"]) == 12
