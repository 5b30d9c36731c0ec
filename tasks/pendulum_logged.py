"""Learn to swing up a pendulum from what others did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.log import ShippedLog, Stage
from tasks.pendulum import Pendulum


@dataclass(frozen=True, kw_only=True)
class PendulumLogged(ShippedLog, Pendulum):
    """Pendulum-v1 from a fixed log: steps of a random policy and of SAC at three points of its training."""

    source: ClassVar[str] = "pendulum"
    stages: ClassVar[tuple[Stage, ...]] = (
        Stage("sac", 0, 4000),
        Stage("sac", 1500, 4000),
        Stage("sac", 3000, 6000),
        Stage("sac", 6000, 6000),
    )
