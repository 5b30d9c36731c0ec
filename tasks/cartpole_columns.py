"""Gymnasium's vectorised cart-pole with columns that start their episodes apart, each from a seed of its own."""

from __future__ import annotations

from typing import Any

import numpy
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode


class CartPoleColumns(CartPoleVectorEnv):
    """Takes a step in all columns at once. A column that is done waits for `reset` with a mask; a seed gives the start of CartPole-v1's."""

    metadata = {**CartPoleVectorEnv.metadata, "autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012  (Gymnasium's own declaration)
    state: Any

    def step(self, action: Any) -> Any:
        found = super().step(action)
        self.prev_done = numpy.zeros(self.num_envs, dtype=numpy.bool_)  # nothing is to be reset on the next step
        return found

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """`seed`: one for each column. `options["reset_mask"]`: the columns to start anew; all of them without it."""
        mask = (options or {}).get("reset_mask")
        if mask is None or self.state is None:
            mask = numpy.ones(self.num_envs, dtype=numpy.bool_)
            self.state = numpy.zeros((4, self.num_envs))
            self.prev_done = numpy.zeros(self.num_envs, dtype=numpy.bool_)
        seeds = seed if isinstance(seed, list) else [None] * self.num_envs
        for column in numpy.flatnonzero(mask):
            self.state[:, column] = numpy.random.default_rng(seeds[column]).uniform(-0.05, 0.05, size=4)
        self.steps[mask] = 0
        return self.state.T.astype(numpy.float32), {}
