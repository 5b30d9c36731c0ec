"""Balance a pole on a cart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.env import EnvTask

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv


@dataclass(frozen=True, kw_only=True)
class CartPole(EnvTask):
    """CartPole-v1: keep a pole upright for 500 steps by pushing its cart left or right."""

    id: ClassVar[str] = "CartPole-v1"
    floor: ClassVar[float | None] = 22.0
    ceiling: ClassVar[float | None] = 500.0

    def make(self, n: int) -> VectorEnv[Any, Any, Any]:
        """Gymnasium's own vectorised form; one environment a column where Gymnasium is to start the episodes."""
        if self.autoreset != "disabled":
            return super().make(n)
        from tasks.cartpole_columns import CartPoleColumns

        return CartPoleColumns(n)
