"""Reward at the end only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.env import EnvTask


@dataclass(frozen=True, kw_only=True)
class MountainCar(EnvTask):
    """MountainCar-v0: rock a weak car up a hill; -1 for each step until it is there, 200 at most."""

    id: ClassVar[str] = "MountainCar-v0"
    floor: ClassVar[float | None] = -200.0
    ceiling: ClassVar[float | None] = -100.8
