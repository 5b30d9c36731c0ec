"""Land softly."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.env import EnvTask

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv


@dataclass(frozen=True, kw_only=True)
class LunarLander(EnvTask):
    """LunarLander-v3: land a craft between two flags with one main and two side engines."""

    id: ClassVar[str] = "LunarLander-v3"
    floor: ClassVar[float | None] = -180.0
    ceiling: ClassVar[float | None] = 242.0
    extra: ClassVar[str | None] = "box2d"

    def make(self, n: int) -> VectorEnv[Any, Any, Any]:
        """Box2D's bindings warn when they are loaded, and crash where a warning is an error."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return super().make(n)
