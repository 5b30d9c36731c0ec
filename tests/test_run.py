"""Runs from specification to folder: resume, kills, locks, changed bases."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.config import RunSpec
from bench.errors import ConfigError, DivergedError
from bench.models import BASES
from bench.record import Record
from bench.resolve import Request, resolve
from bench.run import Work, execute
from bench.run_folder import read_items
from bench.store import RunStore
from tasks.base import Problem, Score
from tasks.last_digit import LastDigit

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


def test_a_run_ends_with_an_evaluation_whatever_its_budget(tmp_path: Path) -> None:
    """Four evaluations of 117 samples are due every 29: the fourth after 116, one rollout batch before the end."""
    tiny = ("train.prompts=2", "train.completions=2", "train.eval_points=4")
    result = execute(spec(budget=117, settings=tiny), RunStore(tmp_path), lambda record: None)
    evaluated = [r.samples for r in result.records if r.eval_score is not None]
    assert evaluated == [0, 32, 60, 88, 116, 120]
    done = json.loads((result.folder / "done.json").read_text())
    assert done["summary"]["score"] == result.records[-1].eval_score is not None


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


DIVERGING: list[tuple[str, tuple[str, ...], str]] = [
    ("grpo", ("train.lr=1e30",), r"training diverged at step 2 \([a-z_/]+ is nan\); lower train\.lr$"),
    ("dpo", ("train.lr=1e30",), r"training diverged at step 2 \([a-z_/]+ is nan\); lower train\.lr$"),
    ("ppo", ("train.critic_lr=1e30",), r"training diverged at step 2 \(value/mean is nan\); lower train\.lr or train\.critic_lr$"),
]


@pytest.mark.parametrize(("algorithm", "settings", "says"), DIVERGING, ids=[name for name, *_ in DIVERGING])
def test_a_run_that_diverges_says_so_and_keeps_what_was_recorded(
    algorithm: str, settings: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    """One step per rollout batch, so that the first batch still sees the start model. The same command ends the same way."""
    single = () if algorithm == "ppo" else ("train.minibatches=1",)
    wanted, store = spec(algorithm, settings=(*settings, *single, "train.warmup=0")), RunStore(tmp_path)
    for _ in range(2):
        with pytest.raises(DivergedError, match=says):
            execute(wanted, store, lambda record: None)
    (info,) = store.runs()
    assert (info.state, [r.step for r in info.records()]) == ("failed", [0, 1])
    assert info.failure == "diverged" and info.error is not None and re.search(says, info.error)


def test_a_reward_model_that_diverges_says_so_before_it_pays(tmp_path: Path) -> None:
    cheap = ("reward.prompts=8", "reward.measured=8", "reward.completions=4", "reward.lr=1e30")
    with pytest.raises(DivergedError, match=r"reward model's training diverged \(the margin of its pairs is nan\); lower reward\.lr"):
        execute(spec(reward="model", settings=cheap), RunStore(tmp_path), lambda record: None)
    assert not list(tmp_path.glob("*/*/*/reward_model"))


def test_a_verifier_that_is_silent_on_the_form_is_missed_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = LastDigit.score

    def score(task: LastDigit, problem: Problem, text: str) -> Score:
        found = plain(task, problem, text)
        return replace(found, parts={name: value for name, value in found.parts.items() if name != "format"})

    monkeypatch.setattr(LastDigit, "score", score)
    monkeypatch.setattr("bench.run.start_policy", lambda *known: pytest.fail("the model was loaded"))
    with pytest.raises(ConfigError, match=r'format_reward needs the part "format" .* \'last_digit\', which give lenient, strict; choose'):
        Work(spec("format_reward"))


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


def test_what_each_held_out_problem_scored_is_kept_and_goes_with_its_record(tmp_path: Path) -> None:
    result = execute(spec(), RunStore(tmp_path), lambda record: None)
    kept = read_items(result.folder)
    assert [step for step, _ in kept] == [r.step for r in result.records if r.eval_score is not None]
    assert len({items.key for _, items in kept}) == 1
    for (_, items), score in zip(kept, (r.eval_score for r in result.records if r.eval_score is not None), strict=True):
        assert len(items.scores) == 8 and sum(items.scores) / 8 == pytest.approx(score)
    other = execute(spec("grpo", seed=1), RunStore(tmp_path), lambda record: None)
    assert read_items(other.folder)[0][1].key == kept[0][1].key
    assert "items" not in json.loads((result.folder / "curve.jsonl").read_text().splitlines()[0])
