"""Rules with a critic: every environment takes the same number of steps, then the policy learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy
import torch
from torch import Tensor

from algorithms.base import PolicyGradient
from bench.control.on_policy import OnPolicy
from bench.control.paths import Paths
from bench.control.setup import Plan
from bench.control.worlds import Step
from bench.control_settings import SegmentSettings


class Segments(OnPolicy):
    """`envs` environments a seed, `steps` steps each, then `epochs` passes over them."""

    def __init__(self, rule: PolicyGradient, plan: Plan, settings: SegmentSettings) -> None:
        super().__init__(rule, plan, settings, settings.envs)
        self.steps = settings.steps
        self._obs = self.worlds.reset()

    @property
    def exact(self) -> bool:
        return self.worlds.exact

    def gathered(self) -> Paths:
        uniform, normal = self.noise(self.steps, f"act:{self.count.iterations}")
        obs, actions, found = [], [], []
        for t in range(self.steps):
            obs.append(self._obs)
            action = self.actor.sample(self.split(self._obs), uniform[:, t], normal[:, t])
            actions.append(action.flatten(0, 1).numpy())
            found.append(self.worlds.step(actions[-1]))
            self._obs = found[-1].obs
        each = {f.name: self._together([getattr(step, f.name) for step in found]) for f in fields(Step) if f.name != "obs"}
        self.count.samples += each["valid"].sum((1, 2))
        self.tally(self.worlds)
        ended = each["terminated"]
        paths = Paths(
            obs=self._together(obs),
            action=self._together(actions),
            reward=each["reward"],
            mask=each["valid"],
            end=ended | each["truncated"],
            terminated=ended,
            group=torch.arange(self.columns),
            limit=self.steps,
        )
        return self._valued(paths, each["next_obs"])

    def _together(self, parts: Sequence[Any]) -> Tensor:
        """(S, columns, T, ...) from T arrays of (S * columns, ...)."""
        whole: Tensor = torch.from_numpy(numpy.stack(parts))
        return whole.view(len(parts), len(self.plan.seeds), self.columns, *whole.shape[2:]).movedim(0, 2)

    def _valued(self, paths: Paths, next_obs: Tensor) -> Paths:
        """With the acting policy's log-probabilities, and the critic's values of the states and of what truly follows each of them."""
        shape = paths.mask.shape
        now = self.actor.forward(paths.obs.flatten(1, 2), paths.action.flatten(1, 2))
        after = self.actor.value(next_obs.flatten(1, 2)).view(shape)
        assert now.value is not None
        bootstrap = torch.where(paths.terminated, torch.zeros_like(after), after)
        return replace(paths, old_logp=now.logp.view(shape), old_value=now.value.view(shape), bootstrap=bootstrap)

    def state(self, row: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        tensors, facts = super().state(row)
        held = self.worlds.state(range(row * self.columns, (row + 1) * self.columns))
        return tensors | {"worlds": {name: torch.from_numpy(value) for name, value in held.items()}}, facts

    def restore(self, states: Sequence[tuple[dict[str, dict[str, Tensor]], dict[str, Any]]]) -> None:
        super().restore(states)
        self._obs = self.worlds.restore([{name: x.numpy() for name, x in tensors["worlds"].items()} for tensors, _ in states])
