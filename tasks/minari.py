"""Any data set of Minari."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.log import LoggedEpisode, LogTask

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv


@dataclass(frozen=True, kw_only=True)
class Minari(LogTask):
    """Any Minari data set on this machine, `--task minari:ID`; what is learnt is tried in the environment it was recorded in."""

    id: str = "D4RL/pen/human-v2"
    limit: int | None = None  # steps after which a tried episode is cut; none: the environment's own

    extra: ClassVar[str | None] = "offline"

    def episodes(self) -> Iterator[LoggedEpisode]:
        for episode in self._data().iterate_episodes():
            yield LoggedEpisode(episode.observations, episode.actions, episode.rewards, bool(episode.terminations[-1]))

    def provenance(self) -> dict[str, Any]:
        """What the data set says of itself, where that is text or a number."""
        return {name: value for name, value in self._data().storage.metadata.items() if isinstance(value, str | int | float)}

    def make(self, n: int) -> VectorEnv[Any, Any, Any]:
        """Raises ValueError where the data set names no environment."""
        import gymnasium
        from gymnasium.vector import AutoresetMode, SyncVectorEnv

        spec = self._data().spec.env_spec
        if spec is None:
            raise ValueError(f"Minari data set {self.id!r} does not say in which environment it was recorded, so nothing is tried there")
        mode = {mode.name.lower(): mode for mode in AutoresetMode}[self.autoreset]
        return SyncVectorEnv(
            [partial(gymnasium.make, spec, max_episode_steps=self.limit, disable_env_checker=True)] * n, autoreset_mode=mode
        )

    def _data(self) -> Any:
        """Raises ImportError without Minari, FileNotFoundError for a data set that is not on this machine."""
        try:
            import minari
        except ImportError as error:
            raise ImportError(f'Minari data sets need Minari (pip install "rl-bench-suite[{self.extra}]")') from error
        try:
            return minari.load_dataset(self.id)
        except (FileNotFoundError, ValueError) as error:
            known = ", ".join(sorted(minari.list_local_datasets())) or "none"
            message = f"Minari data set {self.id!r} is not on this machine (here: {known}); `minari download {self.id}` fetches it"
            raise FileNotFoundError(message) from error
