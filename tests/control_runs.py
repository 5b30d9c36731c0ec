"""Small runs on Gymnasium and on logs, one for each rule and way of gathering: what the tests of such runs share."""

from __future__ import annotations

import importlib
import json
import math
import multiprocessing
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import bench.control.run
from bench.config import RunSpec
from bench.record import Record
from bench.resolve import Request, resolve
from bench.run import Result, execute_seeds
from bench.store import RunStore

SMALL = ("train.hidden=8|8", "train.eval_episodes=2", "train.eval_points=2", "train.records=6")
WAYS = {
    "segments": ("train.envs=2", "train.steps=16", "train.batch=16", "train.epochs=2"),
    "steps": ("train.envs=2", "train.steps=8"),
    "once": ("train.starts=2", "train.episodes=2"),
    "episodes": ("train.starts=2", "train.episodes=2", "train.minibatches=2"),
    "replay": ("train.learning_starts=20", "train.train_every=4", "train.gradient_steps=2", "train.batch=8"),
    "log": ("train.batch=16",),
}
REFINED = ("algo.double=true", "algo.dueling=true", "algo.n_step=3", "train.lr_end=0", "train.grad_clip=0.1")

# by what is special about it: rule, task, way of gathering, budget, further settings
RUNS: dict[str, tuple[str, str, str, int, tuple[str, ...]]] = {
    "reinforce": ("reinforce", "cartpole", "once", 400, ()),
    "a2c": ("a2c", "cartpole", "steps", 150, ()),
    "ppo": ("ppo", "cartpole", "segments", 200, ()),
    "ppo, some stopped early": ("ppo", "cartpole", "segments", 200, ("algo.target_kl=0.001", "train.lr=0.02")),
    "ppo, pendulum": ("ppo", "pendulum", "segments", 220, ()),
    "grpo": ("grpo", "cartpole", "episodes", 600, ()),
    "dapo": ("dapo", "cartpole", "episodes", 600, ()),
    "dapo, several rounds": ("dapo", "frozen_lake", "episodes", 1500, ()),
    "gspo": ("gspo", "cartpole", "episodes", 400, ()),
    "sapo": ("sapo", "cartpole", "episodes", 400, ()),
    "dqn": ("dqn", "cartpole", "replay", 120, ()),
    "dqn, refined": ("dqn", "cartpole", "replay", 120, REFINED),
    "sac": ("sac", "pendulum", "replay", 120, ()),
    "sac, first version": ("sac", "pendulum", "replay", 120, ("algo.version=v1",)),
    "sac, discrete": ("sac", "cartpole", "replay", 120, ()),
    "cql": ("cql", "cartpole_logged", "log", 24, ()),
    "cql, pendulum": ("cql", "pendulum_logged", "log", 12, ()),
    "bc": ("bc", "cartpole_logged", "log", 24, ()),
}


TOLERANCE = 1e-4  # relative and absolute: batched products of one seed and of three may round apart, by some 1e-6 after these few steps


def specs(name: str, seeds: Sequence[int], more: Sequence[str] = (), budget: int = 0) -> list[RunSpec]:
    rule, task, way, usual, settings = RUNS[name]
    asked: dict[str, Any] = {"budget": budget or usual, "settings": (*SMALL, *WAYS[way], *settings, *more)}
    return [resolve(Request(algorithm=rule, task=task, seed=seed, **asked)) for seed in seeds]


def unseen(spec: RunSpec, record: Record) -> None:
    """For whoever does not look."""


def store(root: Path) -> RunStore:
    return RunStore(root, reserve=0)


def trained(wanted: Sequence[RunSpec], root: Path) -> list[Result]:
    return execute_seeds(wanted, store(root), unseen)


def parameters(folder: Path) -> dict[str, Tensor]:
    """What a finished run has learnt."""
    from safetensors.torch import load_file

    (path,) = folder.glob("checkpoint/*/model.safetensors")
    return load_file(path)


def left(folder: Path) -> dict[str, Any]:
    """Everything that a finished run leaves and that no clock has a hand in."""
    found: dict[str, Any] = {"curve": (folder / "curve.jsonl").read_bytes(), "summary": json.loads((folder / "done.json").read_text())}
    return found | {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}


def untimed(record: Record) -> tuple[int | float, ...]:
    return record.step, record.samples, record.tokens, record.updates


def measured(record: Record) -> dict[str, float]:
    scores = {"train": record.train_score, "eval": record.eval_score}
    return record.probes | {name: value for name, value in scores.items() if value is not None}


def assert_same(found: Result, wanted: Result) -> None:
    """Up to rounding."""
    assert [untimed(r) for r in found.records] == [untimed(r) for r in wanted.records]
    for mine, other in zip(found.records, wanted.records, strict=True):
        assert measured(mine) == pytest.approx(measured(other), rel=TOLERANCE, abs=TOLERANCE)
    learnt, known = parameters(found.folder), parameters(wanted.folder)
    assert learnt.keys() == known.keys()
    for name, value in learnt.items():
        torch.testing.assert_close(value, known[name], rtol=TOLERANCE, atol=TOLERANCE)


def killed(wanted: Sequence[RunSpec], root: Path, place: str, call: int, *, after: bool = True) -> None:
    """Run in a process of its own that saves at every turn, and kill it before or after it calls `place` for the so-manieth time."""
    context = multiprocessing.get_context("forkserver")  # none of its children inherits what torch has started here
    context.set_forkserver_preload(["control_runs", "bench.control.run"])
    child = context.Process(target=_until, args=(wanted, root, place, call, after))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, child.exitcode


def _until(wanted: Sequence[RunSpec], root: Path, place: str, call: int, after: bool) -> None:
    module, *inner, name = place.split(":")
    owner: Any = importlib.import_module(module)
    for part in inner:
        owner = getattr(owner, part)
    plain, calls = getattr(owner, name), 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        found = plain(*arguments, **named)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, counted)
    bench.control.run.SAVE_SHARE = math.inf
    trained(wanted, root)
