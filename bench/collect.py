"""Makes a shipped log again: trains the rule that its stages name, and lets it act in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy
import torch

from bench import registry
from bench.chance import Blocks, number
from bench.config import RunSpec
from bench.control.build import build
from bench.control.logs import facts
from bench.control.process import made_small
from bench.control.training import Run
from bench.control.worlds import Worlds
from bench.errors import ConfigError
from bench.provenance import provenance
from bench.resolve import Request, resolve
from tasks.log import LoggedEpisode, ShippedLog, Stage, digest, write

SEED = 12345  # of the shipped logs


def collect(name: str, out: Path | None, seed: int) -> dict[str, Any]:
    """Writes the log of a task and returns its provenance. Raises ConfigError for a task that is no shipped log."""
    task_class = registry.load("tasks", name)
    if not issubclass(task_class, ShippedLog):
        known = [each for each in registry.names("tasks") if issubclass(registry.load("tasks", each), ShippedLog)]
        raise ConfigError(f"{name} is no log that could be made again; those are {', '.join(known)}")
    if out is None and seed != SEED:
        raise ConfigError(f"seed {seed} makes another log than the shipped one, which runs refer to; say with --out where it shall go")
    stages = task_class.stages
    rule = stages[-1].algorithm
    spec = resolve(Request(algorithm=rule, task=task_class.source, seed=seed, budget=max(stage.steps for stage in stages)))
    with made_small(), closing(build([spec])) as run:
        parts = [(list(_acted(run, stage, spec)), run.trainer.count.spent) for stage in stages]
    found = _provenance(spec, parts)
    write((out or task_class.path().parent) / task_class.source, [episode for part, _ in parts for episode in part], found)
    return found


def _acted(run: Run, stage: Stage, spec: RunSpec) -> Iterator[LoggedEpisode]:
    """Whole episodes of the policy as it is after the stage's steps, until there are enough steps."""
    trainer = run.trainer
    while trainer.count.spent < stage.steps:
        trainer.advance()
    name = f"collect:{spec.seed}:{stage.steps}"
    worlds = Worlds(run.evaluator.task, 1, lambda column, episode: number(f"{name}:{episode}") % 2**31)
    space, seeds = worlds.space, [spec.seed]
    uniform, normal = Blocks("uniform", seeds, (1, 2), name, 256), Blocks("normal", seeds, (1, space.actions), name, 256)
    anything = Blocks("uniform", seeds, (1, space.actions), f"anything:{name}", 256)
    steps: list[tuple[Any, ...]] = []
    obs, taken = worlds.reset(), 0
    while taken < stage.transitions or steps:
        with torch.no_grad():
            if stage.steps:
                action = trainer.tried(torch.from_numpy(obs).unsqueeze(0), uniform.at(taken), normal.at(taken))
            else:
                action = (uniform.at(taken)[..., 1] * space.actions).long() if space.discrete else 2 * anything.at(taken) - 1
        step = worlds.step(action.flatten(0, 1).numpy())
        steps.append((obs[0], worlds.real(action.flatten(0, 1).numpy())[0], step.reward[0], step.next_obs[0]))
        obs, taken = step.obs, taken + 1
        if step.terminated[0] or step.truncated[0]:
            before, actions, rewards, after = zip(*steps, strict=True)
            yield LoggedEpisode(numpy.stack([*before, after[-1]]), numpy.stack(actions), numpy.array(rewards), bool(step.terminated[0]))
            steps = []
    worlds.close()


def _provenance(spec: RunSpec, parts: list[tuple[list[LoggedEpisode], int]]) -> dict[str, Any]:
    """Who acted, after how many steps of training, how well, and on what it was made."""
    whole = [episode for part, _ in parts for episode in part]
    acted = [{"policy": spec.algorithm.name if spent else "random", "steps_of_training": spent, **_quality(part)} for part, spent in parts]
    made = provenance()
    on = {name: made[name] for name in ("bench", "python", "platform", "packages") if name in made}
    return {"task": spec.task.name, "seed": spec.seed, **_quality(whole), "parts": acted, "sha256": digest(whole), "made_on": on}


def _quality(episodes: list[LoggedEpisode]) -> dict[str, float]:
    return {key.removeprefix("log/"): round(value, 3) for key, value in facts(episodes).items()}
