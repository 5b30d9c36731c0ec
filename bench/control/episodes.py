"""Rules without a critic: whole episodes, several of them from each start state where the rule compares those."""

from __future__ import annotations

from typing import Any

import numpy
import torch
from torch import Tensor

from algorithms.base import PolicyGradient
from bench.chance import number
from bench.control.on_policy import OnPolicy
from bench.control.paths import Paths
from bench.control.setup import Plan
from bench.control_settings import EpisodeSettings
from bench.errors import ConfigError

BLOCK = 64  # steps for which random numbers are drawn at a time


class Episodes(OnPolicy):
    """`starts` start states a rollout batch, `episodes` episodes from each."""

    def __init__(self, rule: PolicyGradient, plan: Plan, settings: EpisodeSettings) -> None:
        super().__init__(rule, plan, settings, settings.starts * settings.episodes)
        if not self.worlds.exact:
            raise ConfigError(f"episodes from chosen start states need task.autoreset=disabled; it is {plan.task.autoreset}")
        if getattr(rule, "surplus", "discard") == "carry":
            raise ConfigError("algo.surplus is carry, which is for text; on Gymnasium groups beyond the batch are discarded")
        self.size = settings.episodes if rule.group else 1
        self.groups = torch.arange(self.columns) // self.size
        self.worlds.start = self._start
        self._round = ""
        self._sampling: list[dict[str, float]] = []

    def gathered(self) -> Paths:
        """Rounds of episodes until the rule has kept a full batch for every seed, or its rounds are spent."""
        rounds: list[Paths] = []
        kept: list[list[Tensor]] = [[] for _ in self.plan.seeds]  # places among all rounds' paths, a tensor for each group
        short = list(range(len(self.plan.seeds)))
        took = [0] * len(short)
        while short and len(rounds) < self.rule.rounds:
            found = self._played(f"{self.count.iterations}:{len(rounds)}", short)
            for row in short:
                worthy = self.rule.keep(found.batch(row))
                kept[row] += [places + len(rounds) * self.columns for places in self._places(worthy)]
                took[row] += 1
            rounds.append(found)
            full = self.columns // self.size
            short = [row for row in short if len(kept[row]) < full and int(self.count.samples[row]) < self.plan.budget]
        if short and getattr(self.rule, "on_exhausted", "train_partial") == "error":
            raise ConfigError(
                f"{len(kept[short[0]])} of {full} groups had different returns after {took[short[0]]} rounds; raise algo.max_rounds"
            )
        self._sampling = [
            {"sampling/rounds": float(n), "sampling/kept_frac": len(groups) / (n * full)} for n, groups in zip(took, kept, strict=True)
        ]
        return rounds[0] if self.rule.rounds == 1 else _chosen(rounds, kept, self.columns)

    def probes(self, row: int) -> dict[str, float]:
        return super().probes(row) | (self._sampling[row] if self.rule.rounds > 1 and self._sampling else {})

    def _start(self, column: int, episode: int) -> int:
        """Episodes of a group share the seed of their start; what a column does after its episode is not looked at."""
        seed, place = self.plan.seeds[column // self.columns], int(self.groups[column % self.columns])
        return number(f"start:{seed}:{self._round}:{place}:{episode}") % 2**31

    def _places(self, worthy: Tensor) -> list[Tensor]:
        """The rows of each group that is worth training on."""
        return [rows for rows in torch.arange(self.columns).split(self.size) if worthy[rows].any()]

    def _played(self, name: str, rows: list[int]) -> Paths:
        """One episode in every column; those of seeds not in `rows` are neither counted nor looked at."""
        self._round = name  # by which `reset` chooses where episodes start
        obs = self.worlds.reset()
        going = numpy.ones(len(obs), dtype=numpy.bool_)
        held: dict[str, list[Any]] = {key: [] for key in ("obs", "action", "reward", "mask", "terminated", "end")}
        while going.any():
            place = len(held["obs"]) % BLOCK
            if not place:
                uniform, normal = self.noise(BLOCK, f"act:{name}:{len(held['obs'])}")
            action = self.actor.sample(self.split(obs), uniform[:, place], normal[:, place]).flatten(0, 1).numpy()
            step = self.worlds.step(action)
            done = step.terminated | step.truncated
            for key, value in zip(held, (obs, action, step.reward, going, step.terminated & going, done & going), strict=True):
                held[key].append(value)
            obs, going = step.obs, going & ~done
        each = {key: torch.from_numpy(numpy.stack(value)) for key, value in held.items()}
        each = {key: value.unflatten(1, (len(self.plan.seeds), self.columns)).movedim(0, 2) for key, value in each.items()}
        mask = each["mask"]
        self.count.samples[rows] += mask[rows].sum((1, 2))
        self.tally(self.worlds, first=True, rows=rows)
        old = self.actor.forward(each["obs"].flatten(1, 2), each["action"].flatten(1, 2)).logp.view(mask.shape)
        return Paths(**each, old_logp=old, group=self.groups, limit=self.worlds.limit)


def _chosen(rounds: list[Paths], kept: list[list[Tensor]], columns: int) -> Paths:
    """A batch of `columns` paths for each seed from all rounds; paths without actions where a seed has kept too few."""
    longest = max(paths.mask.shape[2] for paths in rounds)

    def joined(name: str) -> Tensor:
        parts = [getattr(paths, name) for paths in rounds]
        flat = [part.flatten(3) if part.dim() > 3 else part.unsqueeze(3) for part in parts]
        whole = torch.cat([torch.nn.functional.pad(part, (0, 0, 0, longest - part.shape[2])) for part in flat], 1)
        return whole if parts[0].dim() > 3 else whole.squeeze(3)

    index = torch.full((len(kept), columns), -1)
    for row, groups in enumerate(kept):
        places = torch.cat([*groups, torch.empty(0, dtype=torch.long)])[:columns]
        index[row, : len(places)] = places
    seed, there = torch.arange(len(kept)).unsqueeze(1), (index >= 0).unsqueeze(-1)
    names = ("obs", "action", "reward", "mask", "end", "terminated", "old_logp")
    each = {name: joined(name)[seed, index.clamp_min(0)] for name in names}
    each |= {name: each[name] & there for name in ("mask", "end", "terminated")}
    return Paths(**each, group=rounds[0].group, limit=rounds[0].limit)
