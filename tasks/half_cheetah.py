"""Run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.env import EnvTask


@dataclass(frozen=True, kw_only=True)
class HalfCheetah(EnvTask):
    """HalfCheetah-v5: run with six joints; MuJoCo."""

    id: ClassVar[str] = "HalfCheetah-v5"
    floor: ClassVar[float | None] = -280.0
    ceiling: ClassVar[float | None] = 9535.0
    extra: ClassVar[str | None] = "mujoco"
