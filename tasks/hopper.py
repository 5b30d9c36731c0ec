"""Hop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.env import EnvTask


@dataclass(frozen=True, kw_only=True)
class Hopper(EnvTask):
    """Hopper-v5: hop forward on one leg of three joints; MuJoCo."""

    id: ClassVar[str] = "Hopper-v5"
    floor: ClassVar[float | None] = 18.0
    ceiling: ClassVar[float | None] = 2410.0
    extra: ClassVar[str | None] = "mujoco"
