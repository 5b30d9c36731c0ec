"""Land softly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.env import EnvTask


@dataclass(frozen=True, kw_only=True)
class LunarLander(EnvTask):
    """LunarLander-v3: land a craft between two flags with one main and two side engines."""

    id: ClassVar[str] = "LunarLander-v3"
    floor: ClassVar[float | None] = -180.0
    ceiling: ClassVar[float | None] = 242.0
    extra: ClassVar[str | None] = "box2d"
