"""The types a task produces, and the split rule all procedural tasks share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Literal, get_args

from tasks.protocol import Protocol

Split = Literal["train", "tune", "heldout"]
Tier = Literal["tiny", "full"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Problem:
    """One prompt and what its verifier needs."""

    id: str
    prompt: str
    answer: str  # canonical text of a right answer
    facts: dict[str, Any] = field(default_factory=dict)  # whatever else the verifier needs, JSON values only


@dataclass(frozen=True)
class Score:
    """A verifier's verdict on one completion."""

    reward: float  # what training sees
    correct: float  # what the leaderboard sees, 0 or 1
    parts: dict[str, float] = field(default_factory=dict)  # named components; every text task gives "strict", "lenient" and "format"


def binary(strict: bool, lenient: bool, formatted: bool) -> Score:
    """The verdict of a task that pays for strictly formatted right answers and records beside it the lenient reading, and whether the
    answer, right or wrong, has the form that the strict reading asks for."""
    return Score(float(strict), float(strict), {"strict": float(strict), "lenient": float(lenient), "format": float(formatted)})


@dataclass(frozen=True, kw_only=True)
class TextTask(ABC):
    """Problems in text with a program that scores the answers. Instances are small, picklable and travel to worker processes."""

    tiers: ClassVar[tuple[Tier, ...]] = ("tiny",)
    presets: ClassVar[dict[Tier, dict[str, Any]]] = {}  # settings of a tier where they are not the fields' defaults
    ranges: ClassVar[dict[str, tuple[int, int]]] = {}  # smallest and largest value of each numeric setting
    limit: ClassVar[int] = 32  # generation cap of the tiny tier, in tokens

    def __post_init__(self) -> None:
        """Raises ValueError for a setting outside its range."""
        for name, (low, high) in self.ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between {low} and {high}")

    @abstractmethod
    def problems(self, split: Split, seed: int) -> Iterator[Problem]:
        """Endless for "train"; for the other splits too, unless the data is finite. Splits never share a canonical problem, whatever
        the seeds."""

    @abstractmethod
    def score(self, problem: Problem, text: str) -> Score:
        """The verdict on one completion. May raise on hostile text: the caller counts that as a wrong answer."""

    def protocol(self) -> Protocol | None:
        """How the full tier is asked and read; None for an instance of the tiny tier, whose scores are compared with their like only."""
        return None

    @property
    def cap(self) -> int:
        """Generation cap in tokens at the instance's tier."""
        stated = self.protocol()
        return self.limit if stated is None else stated.limit

    def ready(self) -> None:
        """Load what problems and scores need, so that no completion pays for it. Called when a run is specified and in each worker.

        Raises ImportError where something is to be installed, ValueError for a setting that only a library can judge; the text says what
        to do.
        """
        return None

    def key(self, problem: Problem) -> tuple[int, ...] | str:
        """What makes two problems the same for the splits: the sorted numbers, unless the task says otherwise."""
        return tuple(sorted(problem.facts["numbers"]))

    def demonstration(self, problem: Problem, random: Random) -> str:
        """One imperfect demonstrator's completion, for making a base model. Raises ValueError where the task has none."""
        raise ValueError(f"{type(self).__name__} has no demonstrators, so no base model can be made for it")

    def vocabulary(self) -> Iterable[str]:
        """Every token of the task's tiny tokenizer, longest match first in the text. Raises ValueError where the task has none."""
        raise ValueError(f"{type(self).__name__} has no tiny vocabulary")


def generator(*parts: object) -> Random:
    """A source of chance of its own for each name: neighbouring seeds share nothing."""
    return Random(":".join(map(str, parts)))


def split_of(name: str, numbers: Iterable[int]) -> Split:
    """The one split that the sorted numbers of a problem belong to: 80 % train, 10 % tune, 10 % held out, fixed for all seeds."""
    key = f"{name}:{sorted(numbers)}".encode()
    bucket = hashlib.sha256(key).digest()[0]
    return "heldout" if bucket < 26 else "tune" if bucket < 52 else "train"
