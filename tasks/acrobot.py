"""Swing up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.env import EnvTask


@dataclass(frozen=True, kw_only=True)
class Acrobot(EnvTask):
    """Acrobot-v1: swing the lower link of a double pendulum above a line; -1 for each step until then."""

    id: ClassVar[str] = "Acrobot-v1"
    floor: ClassVar[float | None] = -499.0
    ceiling: ClassVar[float | None] = -73.5
