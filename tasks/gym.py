"""Any environment that Gymnasium knows."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.env import EnvTask


@dataclass(frozen=True, kw_only=True)
class Gym(EnvTask):
    """Any Gymnasium environment by name, `--task gym:Id-v0`; returns are read as they are."""

    id: str = "CartPole-v1"
    limit: int | None = None  # steps after which an episode is cut; none: Gymnasium's own
