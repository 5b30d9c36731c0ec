"""Fixed logs of what others did in a world: a rule may learn from nothing else, and is then tried in the world itself."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tasks.env import EnvTask

FOLDER = Path(__file__).resolve().parent / "logs"


@dataclass(frozen=True)
class LoggedEpisode:
    """One episode of T steps, in the world's own units; arrays of NumPy."""

    obs: Any  # (T + 1, ...) the state after the last action included
    action: Any  # (T, ...)
    reward: Any  # (T,)
    terminated: bool  # the world ended after the last step; False where a limit cut the episode


@dataclass(frozen=True)
class Stage:
    """Who acts for a part of a log: a rule after so many steps of training, exploring as it then does; 0 steps: at random."""

    algorithm: str
    steps: int
    transitions: int  # at least so many; the last episode is logged whole


@dataclass(frozen=True, kw_only=True)
class LogTask(EnvTask):
    """A log, with the environment in which what was learnt from it is tried."""

    logged: ClassVar[bool] = True

    @abstractmethod
    def episodes(self) -> Iterator[LoggedEpisode]:
        """The log. Raises OSError where it is not there, ImportError where something is to be installed; the text says what to do."""

    def digest(self) -> str:
        """What names the content of the log. Raises what `episodes` raises."""
        return digest(self.episodes())

    def provenance(self) -> dict[str, Any]:
        """Who acted, from which seeds, with which returns, as far as it is known; JSON values."""
        return {}


@dataclass(frozen=True, kw_only=True)
class ShippedLog(LogTask):
    """A log that comes with this distribution, made by `bench collect`."""

    source: ClassVar[str]  # the task that was acted in
    stages: ClassVar[tuple[Stage, ...]]

    @classmethod
    def path(cls) -> Path:
        """Where the log lies, less the ending."""
        return FOLDER / cls.source

    def episodes(self) -> Iterator[LoggedEpisode]:
        yield from read(self.path())

    def provenance(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path().with_suffix(".json").read_text())
        return found


def digest(episodes: Iterable[LoggedEpisode]) -> str:
    """SHA-256 of everything that the episodes hold, in hexadecimal."""
    import numpy

    found = hashlib.sha256()
    for episode in episodes:
        for part in (episode.obs, episode.action, episode.reward):
            found.update(numpy.ascontiguousarray(part).tobytes())
        found.update(bytes([episode.terminated]))
    return found.hexdigest()


def write(path: Path, episodes: Sequence[LoggedEpisode], provenance: dict[str, Any]) -> None:
    """`path`.npz and, beside it, `path`.json; the same episodes give the same bytes."""
    import numpy

    path.parent.mkdir(parents=True, exist_ok=True)
    joined: dict[str, Any] = {name: numpy.concatenate([getattr(e, name) for e in episodes]) for name in ("obs", "action", "reward")}
    length, terminated = numpy.array([len(e.reward) for e in episodes]), numpy.array([e.terminated for e in episodes])
    numpy.savez_compressed(path.with_suffix(".npz"), length=length, terminated=terminated, **joined)
    path.with_suffix(".json").write_text(json.dumps(provenance, indent=1) + "\n")


def read(path: Path) -> Iterator[LoggedEpisode]:
    """What `write` wrote. Raises FileNotFoundError where there is nothing."""
    import numpy

    file = path.with_suffix(".npz")
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there; `bench collect` makes it again")
    with numpy.load(file) as archive:
        held, first = dict(archive), 0
    for i, (length, terminated) in enumerate(zip(held["length"].tolist(), held["terminated"].tolist(), strict=True)):
        steps = slice(first, first + length)
        yield LoggedEpisode(held["obs"][first + i : first + i + length + 1], held["action"][steps], held["reward"][steps], terminated)
        first += length
