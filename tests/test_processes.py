"""Two processes that train one run on this machine's CPUs: the curve of one process, through failures of either, and from one to two."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ranked import RULES, SMALL, ended, spec, started
from runs import broken_off

from bench.config import RunSpec
from bench.run import execute
from bench.run_folder import read_records
from bench.store import RunStore

SCRIPT, HERE = str(Path(__file__).parent / "ranked.py"), Path(__file__).parent
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """The runs of one process."""
    store = RunStore(tmp_path_factory.mktemp("one"))
    for name in RULES:
        execute(spec(name), store, lambda record: None)
    return store


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made: the same runs, and one that a single process had begun. Models in pieces are compared there, too."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.run.SAVE_SHARE", math.inf)
        broken_off(spec("ppo"), RunStore(folder / "broken"), 2)
    for status, _, errors in ended(started(2, str(HERE / "in_pieces.py"), str(folder))):
        assert status == 0, errors
    return folder


def same(wanted: RunSpec, one: RunStore, other: RunStore) -> None:
    """The same texts, and figures that differ by rounding alone."""
    first, second = one.folder(wanted), other.folder(wanted)
    assert (first / "samples.jsonl").read_bytes() == (second / "samples.jsonl").read_bytes()
    assert (first / "items.jsonl").read_bytes() == (second / "items.jsonl").read_bytes()
    for a, b in zip(read_records(first), read_records(second), strict=True):
        assert (a.step, a.samples, a.tokens, a.updates, a.eval_score) == (b.step, b.samples, b.tokens, b.updates, b.eval_score)
        assert b.probes == pytest.approx(a.probes, abs=TOLERANCE, rel=TOLERANCE)
    assert (second / "done.json").exists()


@pytest.mark.parametrize("name", RULES)
def test_two_processes_make_the_curve_of_one(name: str, one: RunStore, two: Path) -> None:
    same(spec(name), one, RunStore(two / "two"))


def test_a_run_begun_by_one_process_is_ended_by_two(one: RunStore, two: Path) -> None:
    same(spec("ppo"), one, RunStore(two / "broken"))
    held = json.loads((RunStore(two / "broken").folder(spec("ppo")) / "spec.json").read_text())
    assert [held["provenance"]["ranks"], *(each["ranks"] for each in held["resumed"])] == [1, 2]


def test_what_two_processes_save_is_whole_and_takes_their_time_together(one: RunStore, two: Path) -> None:
    own, other = (one.folder(spec("ppo")), RunStore(two / "two").folder(spec("ppo")))
    from safetensors.torch import load_file

    for name in ("model", "optimizer", "critic", "critic_optimizer"):
        first, second = (load_file(next(folder.glob(f"checkpoint/*/{name}.safetensors"))) for folder in (own, other))
        assert {key: tensor.shape for key, tensor in first.items()} == {key: tensor.shape for key, tensor in second.items()}
    last = read_records(other)[-1]
    assert last.cpu_seconds > 0 and last.seconds > 0


def command(results: Path) -> list[str]:
    asked = ["run", "--algo", "grpo", "--task", "last_digit", "--tier", "tiny", "--budget", "64", "--results", str(results), "--json"]
    return [*asked, *(part for setting in (*SMALL, *RULES["grpo"]) for part in ("--set", setting))]


FAULTS = [
    pytest.param("1:3:killed", "killed", "process 1 of the run: it ended without a word", id="killed"),
    pytest.param("1:3:raised", "error", "process 1 of the run: ValueError: planned", id="raised", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("fault", "kind", "says"), FAULTS)
def test_a_process_that_fails_ends_the_run_and_the_same_command_continues(
    fault: str, kind: str, says: str, one: RunStore, tmp_path: Path
) -> None:
    """Without a launcher that would end the other process: it notices by itself. One process then ends what two began."""
    (status, _, errors), (other, *_) = ended(started(2, SCRIPT, *command(tmp_path), FAULT=fault))
    assert status == 2 and other != 0
    assert f"bench: {says}" in errors and "the same command continues" in errors
    (info,) = RunStore(tmp_path).runs()
    assert (info.state, info.failure) == ("failed", kind) and str(info.error).startswith(says)
    assert [record.step for record in info.records()] == [0, 1, 2]
    assert [path.name for path in info.folder.glob("checkpoint/*")] == ["2"]
    execute(spec("grpo"), RunStore(tmp_path), lambda record: None)
    same(spec("grpo"), one, RunStore(tmp_path))


@pytest.mark.slow
def test_torchrun_starts_and_ends_them(one: RunStore, tmp_path: Path) -> None:
    """A fault of the first process, then the same command to the end: the first one speaks, and each record comes once."""
    environment: dict[str, Any] = {"cwd": HERE.parent, "capture_output": True, "text": True, "timeout": 300}
    import os

    known = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE.parent), str(HERE))), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    broken = subprocess.run([*torchrun, SCRIPT, *command(tmp_path)], env={**known, "FAULT": "0:3:raised"}, **environment)
    assert broken.returncode != 0 and "ValueError: planned" in broken.stderr
    (info,) = RunStore(tmp_path).runs()
    assert (info.state, info.failure) == ("failed", "error")
    done = subprocess.run([*torchrun, "-m", "bench", *command(tmp_path)], env=known, **environment)
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line).get("step") for line in done.stdout.splitlines()]
    assert steps == [0, 1, 2, 3, 4, None]
    same(spec("grpo"), one, RunStore(tmp_path))
