"""`bench pretrain`: make a tiny base model and say how good it is."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch

from bench import evaluation, registry
from bench.config import build
from bench.errors import ConfigError, StoreError
from bench.models import BASES
from bench.policy import Policy
from bench.pretrain import PretrainSettings, pretrain
from bench.provenance import provenance
from bench.recipes import recipe
from bench.rollout import collect
from bench.samplers.hf import HF
from bench.verifying import Verifier

PROBLEMS, COMPLETIONS = 256, 8


def make(task_name: str, out: Path | None, seed: int, settings: tuple[str, ...]) -> None:
    """Pretrains in a temporary folder beside the target and moves it there when it is complete.

    Raises ConfigError for a task that has no tiny tier or no demonstrators, StoreError for a folder that cannot be written.
    """
    given = _given(settings)
    task = registry.load("tasks", task_name)()
    if "tiny" not in task.tiers:
        raise ConfigError(f"task {task_name!r} has no tiny tier, so it has no tiny base model")
    target = out or BASES / task_name
    if target.exists() and out is not None and any(target.iterdir()):
        raise StoreError(f"{target} is not empty; choose another --out")
    torch.set_num_threads(1)
    plan = build(PretrainSettings, "pretrain", recipe(task_name, "tiny").pretrain | given)
    began = time.process_time()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
            for step, loss in pretrain(task, task_name, plan, seed, Path(folder)):
                if step % max(1, plan.steps // 20) == 0:
                    print(
                        f"step {step:6d} of {plan.steps}  loss {loss:.3f} nats per token  {time.process_time() - began:5.0f} CPU-seconds",
                        flush=True,
                    )
            scores = _measure(task_name, Path(folder))
            command = " ".join(["bench pretrain", task_name, f"--seed {seed}", *(f"--set {pair}" for pair in settings)])
            about = {"command": command, "seed": seed, "settings": asdict(plan), "scores": scores, "made_with": provenance()}
            (Path(folder) / "base.json").write_text(json.dumps(about, indent=1) + "\n")
            _replace(Path(folder), target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error.strerror or error}); choose another --out") from error
    for name, value in scores.items():
        print(f"{name:20s} {value:.3f}")
    print(f"{target}  {time.process_time() - began:.0f} CPU-seconds")


def _given(settings: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in settings:
        name, equals, value = pair.partition("=")
        if not equals or not name.startswith("pretrain."):
            raise ConfigError(f"--set takes pretrain.NAME=VALUE here, such as pretrain.steps=500; it got {pair!r}")
        found[name.removeprefix("pretrain.")] = value
    return found


def _measure(task_name: str, folder: Path) -> dict[str, float]:
    """Held-out scores of the finished model, and its entropy on its own completions."""
    task, policy = registry.load("tasks", task_name)(), Policy.load(folder)
    session = HF().open(policy)
    held_out = evaluation.problems(task, "heldout", PROBLEMS)
    with Verifier(task) as verifier:
        scores = evaluation.evaluate(policy, session, verifier, held_out, COMPLETIONS, task.limit, "pretrain")
        groups = collect(policy, session, verifier, held_out[:64], COMPLETIONS, task.limit, "pretrain")
    tokens = [c.tokens for g in groups for c in g.completions]
    with torch.no_grad():
        entropy = policy.forward([g.prompt for g in groups for _ in g.completions], tokens).entropy
    assert entropy is not None
    return scores | {"entropy/token": float(entropy.sum()) / sum(map(len, tokens))}


def _replace(made: Path, target: Path) -> None:
    """Move the files of a finished model into place, an older model's included."""
    target.mkdir(exist_ok=True)
    for path in target.iterdir():
        path.unlink()
    for path in made.iterdir():
        path.chmod(0o644)
        path.rename(target / path.name)
