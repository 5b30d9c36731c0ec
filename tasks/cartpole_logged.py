"""Learn to balance a pole from what others did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.cartpole import CartPole
from tasks.log import ShippedLog, Stage


@dataclass(frozen=True, kw_only=True)
class CartPoleLogged(ShippedLog, CartPole):
    """CartPole-v1 from a fixed log: steps of a random policy and of PPO at three points of its training."""

    source: ClassVar[str] = "cartpole"
    stages: ClassVar[tuple[Stage, ...]] = (
        Stage("ppo", 0, 4000),
        Stage("ppo", 2000, 6000),
        Stage("ppo", 8000, 6000),
        Stage("ppo", 30_000, 4000),
    )
