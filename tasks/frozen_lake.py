"""Discrete states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.env import EnvTask


@dataclass(frozen=True, kw_only=True)
class FrozenLake(EnvTask):
    """FrozenLake-v1: cross a slippery 4 x 4 lake with four holes in it; 1 for arriving."""

    id: ClassVar[str] = "FrozenLake-v1"
    floor: ClassVar[float | None] = 0.015
    ceiling: ClassVar[float | None] = 0.74
