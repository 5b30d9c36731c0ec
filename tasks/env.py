"""What a task on Gymnasium produces: vector environments, and the two scores between which its returns are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

Autoreset = Literal["disabled", "same_step", "next_step"]


@dataclass(frozen=True, kw_only=True)
class EnvTask(ABC):
    """A Gymnasium environment, many copies of it at a time."""

    autoreset: Autoreset = "disabled"  # who starts the next episode: we, with a seed of its own, or Gymnasium in one of its two ways

    tiers: ClassVar[tuple[str, ...]] = ("control",)
    floor: ClassVar[float | None] = None  # mean return of random actions; None: unknown, and returns are read as they are
    ceiling: ClassVar[float | None] = None  # a return that is known to be reached
    extra: ClassVar[str | None] = None  # of the distribution, with what the environment needs

    @property
    @abstractmethod
    def id(self) -> str:
        """Gymnasium's name of the environment, with its version."""

    @property
    def limit(self) -> int | None:
        """Steps after which an episode is cut; None: Gymnasium's own."""
        return None

    def make(self, n: int) -> VectorEnv[Any, Any, Any]:
        """n copies whose columns know nothing of each other. Raises ImportError where something is to be installed, ValueError for an
        environment that Gymnasium does not have."""
        import gymnasium
        from gymnasium.error import DependencyNotInstalled, Error
        from gymnasium.vector import AutoresetMode, SyncVectorEnv

        mode = {mode.name.lower(): mode for mode in AutoresetMode}[self.autoreset]
        try:
            return SyncVectorEnv(
                [partial(gymnasium.make, self.id, max_episode_steps=self.limit, disable_env_checker=True)] * n, autoreset_mode=mode
            )
        except (DependencyNotInstalled, ImportError) as error:
            remedy = f' (pip install "rl-bench-suite[{self.extra}]")' if self.extra else ""
            raise ImportError(f"{self.id} needs more than Gymnasium: {error}{remedy}") from error
        except Error as error:
            raise ValueError(f"Gymnasium cannot make {self.id!r}: {error}") from error

    def score(self, total: float) -> float:
        """An episode's return on a scale of 0 (random actions) to 1 (known to be reached); as it is where these are unknown."""
        if self.floor is None or self.ceiling is None:
            return total
        return (total - self.floor) / (self.ceiling - self.floor)
