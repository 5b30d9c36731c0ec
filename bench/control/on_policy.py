"""Policy-gradient rules on Gymnasium: act, learn from it, forget it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from algorithms.base import PolicyGradient
from bench.chance import stacked
from bench.control.actor import Actor, parts
from bench.control.paths import Paths
from bench.control.setup import Plan, Trainer, no_samples, share_left, starts
from bench.control.stack import Build, Mover, Stack
from bench.control.updates import Learnt, annealed, learn
from bench.control.worlds import Worlds
from bench.control_settings import OnPolicySettings


class OnPolicy(Trainer):
    """`columns` environments for each seed; how they are used is left to the way of gathering."""

    def __init__(self, rule: PolicyGradient, plan: Plan, settings: OnPolicySettings, columns: int) -> None:
        self.rule, self.plan, self.columns = rule, plan, columns
        self.given = settings
        self.worlds = Worlds(plan.task, len(plan.seeds) * columns, starts(plan.seeds, columns, "train"))
        self.space = self.worlds.space
        self.stack = Stack(parts(self.space, rule.critic), Build(settings.hidden, settings.activation, "orthogonal"), plan.seeds)
        rates = dict.fromkeys(self.stack.learnt, settings.lr)
        self.mover = Mover(self.stack, settings.optimizer, rates, settings.eps, settings.grad_clip)
        self.actor, self.count = Actor(self.stack, self.space), no_samples(plan.seeds)
        self.learnt: Learnt | None = None

    @abstractmethod
    def gathered(self) -> Paths:
        """What the policies do next, with their log-probabilities; counts its samples."""

    def advance(self) -> None:
        settings, spent = self.given, self.count.spent
        rule = annealed(self.rule, share_left(settings.clip_end, spent, self.plan.budget))
        self.mover.rate(share_left(settings.lr_end, spent, self.plan.budget))
        with torch.no_grad():
            paths = self.gathered()
        self.learnt = learn(self.actor, self.mover, rule, settings, paths, str(self.count.iterations))
        self.count.updates += self.learnt.updates
        self.count.iterations += 1

    def noise(self, steps: int, name: str) -> tuple[Tensor, Tensor]:
        """(S, steps, columns) uniform and (S, steps, columns, A) normal numbers; what the kind of action does not take is empty."""
        shape, none = (steps, self.columns), torch.empty(len(self.plan.seeds), steps, self.columns)
        if self.space.discrete:
            return stacked("uniform", self.plan.seeds, shape, name), none
        return none, stacked("normal", self.plan.seeds, (*shape, self.space.actions), name)

    def best(self, obs: Tensor) -> Tensor:
        return self.actor.best(obs)

    def tried(self, obs: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        return self.actor.sample(obs, uniform[..., 0], normal)

    def probes(self, row: int) -> dict[str, float]:
        if self.learnt is None:
            return {}
        found = self.learnt.probes(self.rule, self.given, row)
        return found if self.space.discrete else found | {"policy/std": float(self.actor.spread()[row])}

    def close(self) -> None:
        self.worlds.close()

    def split(self, x: Any) -> Tensor:
        """(S, columns, ...) from an array of (S * columns, ...)."""
        whole: Tensor = torch.from_numpy(x)
        return whole.view(len(self.plan.seeds), self.columns, *whole.shape[1:])
