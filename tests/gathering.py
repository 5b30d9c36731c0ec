"""Small trainers on worlds that count, and what plain loops make of what they gather."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import torch
from counting import NAME, Counting, Taken, by_hand

from algorithms.a2c import A2C
from algorithms.base import PolicyGradient
from algorithms.grpo import GRPO
from bench.control.episodes import Episodes
from bench.control.on_policy import OnPolicy
from bench.control.paths import Paths
from bench.control.segments import Segments
from bench.control.setup import Plan
from bench.control_settings import EpisodeSettings, SegmentSettings
from tasks.env import Autoreset, EnvTask
from tasks.gym import Gym

SEEDS, ENVS, STEPS, GAMMA, LAM = (3, 11, 7), 2, 9, 0.9, 0.8
MODES: tuple[Autoreset, ...] = get_args(Autoreset)
WORLD = Gym(id=NAME)
RULE = A2C(gamma=GAMMA, lam=LAM)


def segments(task: EnvTask = WORLD, seeds: Sequence[int] = SEEDS, rule: PolicyGradient = RULE, budget: int = 1000) -> Segments:
    settings = SegmentSettings(envs=ENVS, steps=STEPS, batch=5, epochs=2, hidden=(16,), activation="relu", records=4, eval_points=2)
    return Segments(rule, Plan(task, seeds, budget), settings)


def episodes(task: EnvTask = WORLD, seeds: Sequence[int] = SEEDS, rule: PolicyGradient | None = None, budget: int = 1000) -> Episodes:
    settings = EpisodeSettings(starts=3, episodes=4, hidden=(16,), activation="relu", records=4, eval_points=2)
    return Episodes(rule or GRPO(), Plan(task, seeds, budget), settings)


def first(column: int, episode: int) -> int:
    """Columns begin with episodes that differ in how they end and how long they are."""
    return 20 * column + episode


def counted(mode: Autoreset) -> Segments:
    """Segments whose episodes are the same ones in every mode."""
    made = segments(replace(WORLD, autoreset=mode))
    made.worlds.start = first
    made._obs = made.worlds.reset()
    return made


@torch.no_grad()
def gathered(trainer: OnPolicy, rounds: int = 1) -> list[Paths]:
    found = []
    for _ in range(rounds):
        found.append(trainer.gathered())
        trainer.count.iterations += 1  # as `advance` does, which would learn, too
    return found


def value(trainer: OnPolicy, row: int, obs: Sequence[float]) -> float:
    """The critic's number for one state of one seed."""
    padded = torch.zeros(len(trainer.plan.seeds), 1, len(obs))
    padded[row, 0] = torch.tensor(obs)
    return float(trainer.actor.value(padded)[row, 0].detach())


def replayed(paths: Sequence[Paths], row: int, column: int) -> list[Taken]:
    """A column's transitions in a single environment that is given the same actions."""
    actions = iter([int(a) for part in paths for a in part.action[row, column][part.mask[row, column]]])
    steps = sum(int(part.mask[row, column].sum()) for part in paths)
    return by_hand(Counting(), lambda k: first(row * ENVS + column, k), lambda _: next(actions), steps)


def advantages(trainer: Segments, row: int, taken: Sequence[Taken]) -> list[float]:
    """Generalised advantages of one segment of one column, as the paper writes them: sums of discounted errors."""
    error, over = [], []
    for step in taken:
        after = 0.0 if step.terminated else value(trainer, row, step.next_obs)
        error.append(step.reward + GAMMA * after - value(trainer, row, step.obs))
        over.append(step.terminated or step.truncated)
    found = []
    for t in range(len(taken)):
        last = next((k for k in range(t, len(taken)) if over[k]), len(taken) - 1)
        found.append(sum((GAMMA * LAM) ** (k - t) * error[k] for k in range(t, last + 1)))
    return found
