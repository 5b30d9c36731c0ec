"""A world small enough to follow by hand: what the tests of Gymnasium's layer play in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy
from gymnasium.spaces import Box, Discrete

LENGTHS, ENDS = (3, 1, 4, 2, 6), ("terminated", "truncated", "both")  # of the episodes in turn; they share no divisor


class Counting(gymnasium.Env[Any, Any]):
    """Sees its episode's number, the steps taken in it and the last action. A seed names the episode; without one the next begins."""

    observation_space = Box(-1, 1000, (3,), numpy.float32)
    action_space = Discrete(2)

    def __init__(self) -> None:
        self.episode = -1
        self.steps = 0  # ever taken

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.episode, self.at = (self.episode + 1 if seed is None else seed) % 1000, 0
        return self._seen(-1), {}

    def step(self, action: Any) -> Any:
        self.at, self.steps = self.at + 1, self.steps + 1
        over = self.at == LENGTHS[self.episode % len(LENGTHS)]
        end = ENDS[self.episode % len(ENDS)] if over else ""
        reward = self.at + (int(action) if self.episode % 2 else 0)
        return self._seen(action), float(reward), end in ("terminated", "both"), end in ("truncated", "both"), {}

    def _seen(self, action: Any) -> Any:
        return numpy.array([self.episode, self.at, action], dtype=numpy.float32)


NAME = "Counting-v0"
LIMIT = 100  # never reached
if NAME not in gymnasium.registry:
    gymnasium.register(NAME, Counting, max_episode_steps=LIMIT)


@dataclass(frozen=True)
class Taken:
    """One transition of one column."""

    obs: tuple[float, ...]
    action: int
    reward: float
    terminated: bool
    truncated: bool  # and not terminated
    next_obs: tuple[float, ...]


def by_hand(env: gymnasium.Env[Any, Any], start: Callable[[int], int], act: Callable[[Any], int], steps: int) -> list[Taken]:
    """`steps` steps of a single environment whose k-th episode begins from the seed `start(k)`."""
    found, episode = list[Taken](), 0
    obs, _ = env.reset(seed=start(0))
    for _ in range(steps):
        action = act(obs)
        after, reward, terminated, truncated, _ = env.step(action)
        found.append(Taken(tuple(obs.tolist()), action, float(reward), terminated, truncated and not terminated, tuple(after.tolist())))
        obs = after
        if terminated or truncated:
            episode += 1
            obs, _ = env.reset(seed=start(episode))
    return found
