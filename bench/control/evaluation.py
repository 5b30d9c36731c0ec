"""The score: episodes of their own, the same start states for every run, rule and seed, without and with exploration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy
import torch
from torch import Tensor

from bench.chance import Blocks, number
from bench.control.setup import Trainer
from bench.control.worlds import Episode, Worlds
from bench.record import Items, Judged
from tasks.env import EnvTask

BLOCK = 64  # steps for which random numbers are drawn at a time
_Act = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Played:
    """One episode in each of E columns of R seeds; T steps, of which `mask` counts."""

    episodes: list[Episode]  # the first of each column
    obs: Tensor  # (R, T * E, O)
    action: Tensor  # (R, T * E, ...)
    reward: Tensor  # (T, R * E)
    mask: Tensor  # (T, R * E)
    last: Tensor  # (R, E, O) the true state after each column's last step
    cut: Tensor  # (R * E,) by a limit


class Evaluator:
    """Plays `episodes` episodes a seed, in environments that it keeps between evaluations."""

    def __init__(self, task: EnvTask, episodes: int) -> None:
        self.task, self.episodes = replace(task, autoreset="disabled"), episodes
        self._worlds: dict[int, Worlds] = {}  # by the number of seeds evaluated together

    def __call__(self, trainer: Trainer, rows: Sequence[int], names: Sequence[str]) -> list[Judged]:
        """Scores, probes and episodes of the seeds in `rows`; `names` seeds the chance of each one's stochastic policy."""
        with torch.no_grad():
            sure = self._play(trainer, rows, None)
            free = self._play(trainer, rows, names)
            found = [self._summary(sure, row) | self._explored(free, row) for row in range(len(rows))]
            excess = _overestimation(trainer, sure, rows)
        if excess is not None:
            found = [one | {"q/overestimation": float(x)} for one, x in zip(found, excess, strict=True)]
        return [Judged(one, self._items(sure, row)) for row, one in enumerate(found)]

    def close(self) -> None:
        """Give back what the environments hold."""
        for worlds in self._worlds.values():
            worlds.close()

    def _play(self, trainer: Trainer, rows: Sequence[int], names: Sequence[str] | None) -> Played:
        worlds = self._open(len(rows))
        obs, going, seeds = worlds.reset(), numpy.ones(worlds.columns, dtype=numpy.bool_), len(trainer.stack.seeds)
        act = _actions(trainer, rows, names, self.episodes)
        held: list[tuple[Tensor, ...]] = []
        last, cut = obs.copy(), numpy.zeros(worlds.columns, dtype=numpy.bool_)
        while going.any():
            padded = torch.zeros(seeds, self.episodes, trainer.space.observation)
            padded[list(rows)] = torch.from_numpy(obs).view(len(rows), self.episodes, -1)
            action = act(padded, len(held))[list(rows)]
            step = worlds.step(action.flatten(0, 1).numpy())
            held.append((padded[list(rows)], action, torch.from_numpy(step.reward), torch.from_numpy(going)))
            last[going], cut[going] = step.next_obs[going], step.truncated[going]
            obs, going = step.obs, going & ~(step.terminated | step.truncated)
        first = {episode.column: episode for episode in reversed(worlds.finished)}
        worlds.finished.clear()
        obs_, action_, reward, mask = zip(*held, strict=True)
        ends = torch.from_numpy(last).view(len(rows), self.episodes, -1)
        joined = torch.stack(obs_, 1).flatten(1, 2), torch.stack(action_, 1).flatten(1, 2), torch.stack(reward), torch.stack(mask)
        return Played([first[column] for column in range(worlds.columns)], *joined, ends, torch.from_numpy(cut))

    def _open(self, seeds: int) -> Worlds:
        if seeds not in self._worlds:
            start = lambda column, k: number(f"evaluate:{self.task.id}:{column % self.episodes}:{k}") % 2**31  # noqa: E731
            self._worlds[seeds] = Worlds(self.task, seeds * self.episodes, start)
        return self._worlds[seeds]

    def _of(self, played: Played, row: int) -> list[Episode]:
        return played.episodes[row * self.episodes : (row + 1) * self.episodes]

    def _items(self, played: Played, row: int) -> Items:
        return Items(f"{self.task.id} x {self.episodes}", tuple(self.task.score(e.total) for e in self._of(played, row)))

    def _summary(self, played: Played, row: int) -> dict[str, float]:
        each = self._of(played, row)
        total = numpy.array([e.total for e in each])
        return {
            "eval/score": self.task.score(float(total.mean())),
            "eval/return": float(total.mean()),
            "eval/return_std": float(total.std()),
            "eval/length": sum(e.length for e in each) / len(each),
            "eval/truncated": sum(e.truncated for e in each) / len(each),
        }

    def _explored(self, played: Played, row: int) -> dict[str, float]:
        mean = sum(e.total for e in self._of(played, row)) / self.episodes
        return {"eval/return_stochastic": mean, "eval/score_stochastic": self.task.score(mean)}


def _actions(trainer: Trainer, rows: Sequence[int], names: Sequence[str] | None, episodes: int) -> _Act:
    """A function of (S, E, O) states and the step: the best action, or with `names` for chance the one that training would try."""
    if names is None:
        return lambda obs, t: trainer.best(obs)
    width = trainer.space.actions
    uniform = Blocks("uniform", names, (episodes, 2), "evaluate", BLOCK)
    normal = Blocks("normal", names, (episodes, width), "evaluate", BLOCK)

    def wide(x: Tensor) -> Tensor:
        whole = torch.zeros(len(trainer.stack.seeds), *x.shape[1:])
        whole[list(rows)] = x
        return whole

    return lambda obs, t: trainer.tried(obs, wide(uniform.at(t)), wide(normal.at(t)))


def _overestimation(trainer: Trainer, played: Played, rows: Sequence[int]) -> Tensor | None:
    """(R,) mean of the value of each action taken less the discounted return that followed; where a limit cut the episode, the return
    goes on with the value there. None where nothing values actions."""
    gamma = getattr(getattr(trainer, "rule", None), "gamma", None)
    seeds, (steps, columns) = len(trainer.stack.seeds), played.mask.shape

    def wide(x: Tensor) -> Tensor:
        whole = torch.zeros(seeds, *x.shape[1:], dtype=x.dtype)
        whole[list(rows)] = x
        return whole

    value = trainer.value(wide(played.obs), wide(played.action))
    if value is None or gamma is None:
        return None
    after = trainer.value(wide(played.last), trainer.best(wide(played.last)))
    assert after is not None
    later = torch.where(played.cut, after[list(rows)].flatten(), torch.zeros(columns))
    back = torch.zeros(steps, columns)
    for t in range(steps - 1, -1, -1):
        later = torch.where(played.mask[t], played.reward[t] + gamma * later, later)
        back[t] = later
    excess = value[list(rows)].view(len(rows), steps, -1) - back.view(steps, len(rows), -1).movedim(0, 1)
    mask = played.mask.view(steps, len(rows), -1).movedim(0, 1)
    return torch.where(mask, excess, torch.zeros_like(excess)).sum((1, 2)) / mask.sum((1, 2))
