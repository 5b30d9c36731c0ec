"""What every way of training on Gymnasium or on a log is given, and what it must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from algorithms.value import Space
from bench.chance import number
from bench.control.stack import Mover, Stack
from bench.control.worlds import Episode, Worlds
from tasks.env import EnvTask


@dataclass(frozen=True)
class Plan:
    """S runs that differ in their seed alone, trained side by side."""

    task: EnvTask
    seeds: Sequence[int]
    budget: int  # environment steps of each seed; gradient steps on a log


@dataclass
class Count:
    """How far the runs have come, each (S,) unless said otherwise."""

    samples: Tensor  # environment steps; gradient steps on a log
    iterations: int = 0  # of all seeds
    updates: int = 0  # optimizer steps of each seed
    episodes: dict[int, list[Episode]] = field(default_factory=dict)  # finished since the last record, by seed's row

    @property
    def spent(self) -> int:
        """Samples of the seed that has the most."""
        return int(self.samples.max())


class Trainer(ABC):
    """One way of gathering experience and learning from it, for S seeds in step."""

    plan: Plan
    stack: Stack
    mover: Mover
    count: Count
    space: Space

    @property
    def exact(self) -> bool:
        """Whether `restore` gives back the very state that `state` saw."""
        return True

    @abstractmethod
    def advance(self) -> None:
        """Gather and learn once, and count it."""

    @abstractmethod
    def best(self, obs: Tensor) -> Tensor:
        """(S, M, ...) actions without exploration in (S, M, O) states."""

    @abstractmethod
    def tried(self, obs: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        """(S, M, ...) actions as training tries them, from (S, M, 2) uniform and (S, M, A) normal numbers."""

    def value(self, obs: Tensor, action: Tensor) -> Tensor | None:
        """(S, M) what an action is held to be worth; None where nothing values actions."""
        return None

    @abstractmethod
    def probes(self, row: int) -> dict[str, float]:
        """One seed's diagnostics of the newest iteration."""

    def state(self, row: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Tensors by file name, and JSON values, from which `restore` goes on for this seed."""
        return {"model": self.stack.tensors(row), "optimizer": self.mover.tensors(row)}, {
            "samples": int(self.count.samples[row]),
            "iterations": self.count.iterations,
            "updates": self.count.updates,
            "episodes": [[e.column, e.total, e.length, e.truncated] for e in self.count.episodes.get(row, [])],
        }

    def restore(self, states: Sequence[tuple[dict[str, dict[str, Tensor]], dict[str, Any]]]) -> None:
        """Take back every seed's state."""
        for row, (tensors, facts) in enumerate(states):
            self.stack.restore(row, tensors["model"])
            self.mover.restore(row, tensors.get("optimizer", {}))
            self.count.samples[row] = facts["samples"]
            self.count.iterations, self.count.updates = facts["iterations"], facts["updates"]
            self.count.episodes[row] = [Episode(*e) for e in facts["episodes"]]

    def tally(self, worlds: Worlds, rows: Sequence[int] | None = None, *, first: bool = False) -> None:
        """Take the episodes that have finished; only those of the seeds in `rows`, and only the `first` of each column, where asked."""
        per_seed, seen = worlds.columns // len(self.stack.seeds), set[int]()
        for episode in worlds.finished:
            row = episode.column // per_seed
            if (rows is None or row in rows) and not (first and episode.column in seen):
                self.count.episodes.setdefault(row, []).append(episode)
            seen.add(episode.column)
        worlds.finished.clear()

    def close(self) -> None:  # noqa: B027  (a log has nothing to give back)
        """Give back what environments hold."""


def starts(seeds: Sequence[int], per_seed: int, purpose: str) -> Any:
    """The seed of a column's k-th episode, where `per_seed` columns in turn belong to each seed."""

    def start(column: int, episode: int) -> int:
        return number(f"{purpose}:{seeds[column // per_seed]}:{column % per_seed}:{episode}") % 2**31

    return start


def share_left(end: float, spent: int, budget: int) -> float:
    """A share that falls linearly from 1 to `end` over the budget."""
    return 1 + (end - 1) * min(1.0, spent / budget)


def no_samples(seeds: Sequence[int]) -> Count:
    """The count at the start."""
    return Count(torch.zeros(len(seeds), dtype=torch.long))
