"""A continuous torque."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.env import EnvTask


@dataclass(frozen=True, kw_only=True)
class Pendulum(EnvTask):
    """Pendulum-v1: swing a pendulum up and hold it there by a torque of at most 2."""

    id: ClassVar[str] = "Pendulum-v1"
    floor: ClassVar[float | None] = -1220.0
    ceiling: ClassVar[float | None] = -157.0
