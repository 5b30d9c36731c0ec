"""Small runs on Gymnasium and on logs, one for each rule and way of gathering: what the tests of such runs share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.config import RunSpec
from bench.record import Record
from bench.resolve import Request, resolve
from bench.run import Result, execute_seeds
from bench.store import RunStore

SMALL = ("train.hidden=8|8", "train.eval_episodes=2", "train.eval_points=2", "train.records=6")
WAYS = {
    "segments": ("train.envs=2", "train.steps=16", "train.batch=16", "train.epochs=2"),
    "steps": ("train.envs=2", "train.steps=8", "train.batch=16"),
    "episodes": ("train.starts=4", "train.episodes=2", "train.minibatches=2"),
    "replay": ("train.learning_starts=20", "train.train_every=4", "train.gradient_steps=2", "train.batch=8"),
    "log": ("train.batch=16",),
}
REFINED = ("algo.double=true", "algo.dueling=true", "algo.n_step=3", "train.lr_end=0", "train.grad_clip=0.1")

# by what is special about it: rule, task, way of gathering, budget, further settings
RUNS: dict[str, tuple[str, str, str, int, tuple[str, ...]]] = {
    "reinforce": ("reinforce", "cartpole", "episodes", 400, ()),
    "a2c": ("a2c", "cartpole", "steps", 150, ()),
    "ppo": ("ppo", "cartpole", "segments", 200, ()),
    "ppo, some stopped early": ("ppo", "cartpole", "segments", 200, ("algo.target_kl=0.001", "train.lr=0.02")),
    "ppo, pendulum": ("ppo", "pendulum", "segments", 220, ()),
    "grpo": ("grpo", "cartpole", "episodes", 600, ()),
    "dapo": ("dapo", "cartpole", "episodes", 600, ()),
    "dapo, several rounds": ("dapo", "frozen_lake", "episodes", 600, ()),
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
