"""Walk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.env import EnvTask


@dataclass(frozen=True, kw_only=True)
class Walker2d(EnvTask):
    """Walker2d-v5: walk on two legs of three joints each; MuJoCo."""

    id: ClassVar[str] = "Walker2d-v5"
    floor: ClassVar[float | None] = 1.6
    ceiling: ClassVar[float | None] = 3863.0
    extra: ClassVar[str | None] = "mujoco"
