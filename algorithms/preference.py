"""What the rules that learn from pairs have in common: which completions are compared with which."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Rule


@dataclass(frozen=True)
class Side:
    """One completion of each of P pairs, all (P, T): under the current policy, with gradients, and under the reference."""

    logp: Tensor
    ref_logp: Tensor
    mask: Tensor


@dataclass(frozen=True, kw_only=True)
class Preference(Rule, ABC):
    """A rule that learns from pairs of completions of one prompt, the better of which the task or a reward model tells."""

    matching: Literal["random", "all", "best_worst"] = "random"  # random: without replacement, as many pairs as the smaller side has
    min_margin: float = 0.0  # smallest difference in reward that makes a pair, exclusive
    sampling: Literal["online", "iterative", "offline"] = "online"  # who samples: the policy, a copy renewed now and then, the start
    every: int = 8  # rollout batches between renewals of the sampling copy, where sampling is iterative
    reference_policy: Literal["start", "sampling"] = "start"  # frozen at the start, or the policy that sampled the round

    group: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = Rule.ranges | {"min_margin": (0, math.inf), "every": (1, math.inf)}

    @property
    def reference(self) -> bool:
        return self.reference_policy == "start"

    def idle(self) -> dict[str, str]:
        known = super().idle()
        return known if self.sampling == "iterative" else known | {"every": f"sampling is {self.sampling}; set algo.sampling=iterative"}

    def pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Row numbers (P,) of the better and of the worse completions; none for a prompt whose rewards agree.

        A path that could not be scored is in no pair. Raises ValueError where matching is random and `batch.chance` is None.
        """
        reward = ops.path_return(batch.reward, batch.mask)
        together = batch.group.unsqueeze(-1) == batch.group.unsqueeze(-2)
        beats = together & (reward.unsqueeze(-1) - reward.unsqueeze(-2) > self.min_margin)  # (B, B): row beats column; NaN never does
        if self.matching == "all":
            better, worse = beats.nonzero(as_tuple=True)
            return better, worse
        if self.matching == "best_worst":
            return _extremes(reward, batch.group, beats)
        if batch.chance is None:
            raise ValueError("matching at random needs Batch.chance; it is None")
        return _matched(beats, batch.chance)

    @abstractmethod
    def margin(self, better: Side, worse: Side) -> tuple[Tensor, Tensor]:
        """(P,) implicit rewards of the better and of the worse completions: the rule prefers the higher one."""

    @abstractmethod
    def loss(self, better: Side, worse: Side) -> Tensor:
        """(P,) what to minimise, averaged over the pairs of an optimizer step."""


def _extremes(reward: Tensor, group: Tensor, beats: Tensor) -> tuple[Tensor, Tensor]:
    """The first path of highest and of lowest reward of each group in which somebody beats somebody."""
    better, worse = [], []
    for g in group.unique().tolist():
        rows = ((group == g) & ~reward.isnan()).nonzero().squeeze(-1)
        if len(rows) and beats[rows][:, rows].any():
            better.append(rows[reward[rows].argmax()])
            worse.append(rows[reward[rows].argmin()])
    empty = group.new_zeros(0, dtype=torch.long)
    return (torch.stack(better), torch.stack(worse)) if better else (empty, empty)


def _matched(beats: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs drawn one after the other, at random, from what is left; each path serves once."""
    order = (chance.unsqueeze(-1) + chance.unsqueeze(-2)) % 1.0
    better, worse = beats.nonzero(as_tuple=True)
    rank = order[better, worse].argsort(stable=True)
    used = torch.zeros(len(beats), dtype=torch.bool)
    chosen: list[int] = []
    for n in rank.tolist():
        i, j = int(better[n]), int(worse[n])
        if not (used[i] or used[j]):
            used[i] = used[j] = True
            chosen.append(n)
    picked = torch.tensor(sorted(chosen), dtype=torch.long, device=beats.device)
    return better[picked], worse[picked]
