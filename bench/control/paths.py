"""What policies have done, ready for a policy-gradient rule: B paths of T steps for each of S seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from algorithms.base import Batch, Credit, PolicyGradient


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Tensors start with (S, B, T) unless said otherwise."""

    obs: Tensor  # (S, B, T, O)
    action: Tensor  # (S, B, T) or (S, B, T, A)
    reward: Tensor
    mask: Tensor  # False where no action was taken
    end: Tensor  # the episode is over after this step
    terminated: Tensor  # because the world ended
    group: Tensor  # (B,) paths that began in the same state, the same for every seed
    old_logp: Tensor | None = None
    old_value: Tensor | None = None
    bootstrap: Tensor | None = None
    limit: int | None = None  # most steps of a path

    @property
    def truncated(self) -> Tensor:
        """(S, B) cut by a limit: the path's last episode did not end by itself."""
        return (self.end & ~self.terminated & self.mask).any(-1)

    def held(self) -> dict[str, Tensor]:
        """The tensors of a rule's batch, each with the seed axis in front."""
        seeds = len(self.reward)
        named = {"reward": self.reward, "mask": self.mask, "old_logp": self.old_logp, "end": self.end, "truncated": self.truncated}
        named |= {"old_value": self.old_value, "bootstrap": self.bootstrap, "group": self.group.expand(seeds, -1)}
        return {name: value for name, value in named.items() if value is not None}

    def batch(self, row: int) -> Batch:
        """One seed's batch."""
        return Batch(**{name: value[row] for name, value in self.held().items()}, limit=self.limit)


@dataclass(frozen=True)
class Priced:
    """Paths with their credit, each tensor (S, B, T)."""

    paths: Paths
    advantage: Tensor
    weight: Tensor
    target: Tensor | None
    per_path: bool

    def flattened(self) -> Priced:
        """Every action as a path of its own: (S, B * T, 1). For rules that couple the actions of a path through their credit alone."""

        def flat(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.flatten(1, 2).unsqueeze(2)

        old = self.paths
        names = ("obs", "action", "reward", "mask", "end", "terminated", "old_logp", "old_value", "bootstrap")
        changed: dict[str, Any] = {name: flat(getattr(old, name)) for name in names}
        paths = replace(old, **changed, group=torch.arange(old.mask[0].numel()))
        advantage, weight = flat(self.advantage), flat(self.weight)
        assert advantage is not None and weight is not None
        return Priced(paths, advantage, weight, flat(self.target), self.per_path)

    def rows(self, index: Tensor | None) -> Priced:
        """The (S, b) paths of one optimizer step, their weights rescaled seed by seed as `Credit.rows` does; all of them for None."""
        if index is None:
            return self
        seed = torch.arange(len(index)).unsqueeze(1)

        def taken(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[seed, index]

        old = self.paths
        names = ("obs", "action", "reward", "mask", "end", "terminated", "old_logp", "old_value", "bootstrap")
        changed: dict[str, Any] = {name: taken(getattr(old, name)) for name in names}
        paths = replace(old, **changed, group=old.group[: index.shape[1]])
        weight = vmap(lambda weight, rows: Credit(weight, weight, None, self.per_path).rows(rows).weight)(self.weight, index)
        advantage = taken(self.advantage)
        assert advantage is not None
        return Priced(paths, advantage, weight, taken(self.target), self.per_path)

    def joined(self) -> tuple[Batch, Credit]:
        """All seeds' rows under each other, (S * B, T), for what treats every action by itself: a rule's objective and its value loss."""
        seeds, paths = self.weight.shape[:2]
        held = {name: value.flatten(0, 1) for name, value in self.paths.held().items() if name != "group"}
        batch = Batch(**held, group=torch.arange(seeds * paths), limit=self.paths.limit)
        target = None if self.target is None else self.target.flatten(0, 1)
        return batch, Credit(self.advantage.flatten(0, 1), self.weight.flatten(0, 1), target, self.per_path)

    def credit(self, row: int) -> Credit:
        """One seed's credit."""
        return Credit(self.advantage[row], self.weight[row], None if self.target is None else self.target[row], self.per_path)


def price(rule: PolicyGradient, paths: Paths) -> Priced:
    """The rule's credit for each seed by itself: what one seed did changes nothing for another."""
    per_path = False

    def one(held: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal per_path
        credit = rule.credit(Batch(**held, limit=paths.limit))
        per_path = credit.per_path
        found = {"advantage": credit.advantage, "weight": credit.weight}
        return found if credit.target is None else found | {"target": credit.target}

    found = vmap(one)(paths.held())
    return Priced(paths, found["advantage"], found["weight"], found.get("target"), per_path)
