"""Value rules, in a world or on a log: draw transitions, let the rule say what to move, move it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from algorithms.value import Space, Transitions, ValueRule
from bench.chance import Blocks
from bench.control.logs import episodes_of, facts, transitions
from bench.control.replay_buffer import ReplayBuffer
from bench.control.setup import Plan, Trainer, no_samples, share_left, starts
from bench.control.stack import Build, Mover, Stack
from bench.control.worlds import Worlds
from bench.control_settings import ControlSettings, LogSettings, ReplaySettings
from bench.errors import ConfigError
from tasks.log import LogTask

BLOCK = 32  # gradient steps, or environment steps, for which random numbers are drawn at a time


class ValueLearning(Trainer):
    """What learning from single transitions has in common, wherever they come from."""

    def __init__(self, rule: ValueRule, plan: Plan, settings: ControlSettings, space: Space, batch: int) -> None:
        self.rule, self.plan, self.given, self.space = rule, plan, settings, space
        for name, why in rule.idle_with(space).items():
            if getattr(rule, name) != getattr(type(rule), name):
                raise ConfigError(f"algo.{name} is {getattr(rule, name)}, but {why}; leave it out")
        self.stack = Stack(rule.networks(space), Build(settings.hidden, settings.activation, "uniform"), plan.seeds)
        rates = dict.fromkeys(self.stack.learnt, settings.lr)
        self.mover = Mover(self.stack, "adam", rates, settings.eps, settings.grad_clip)
        self.count = no_samples(plan.seeds)
        self._index = Blocks("uniform", plan.seeds, (batch, 2), "draw", BLOCK)
        noise = rule.noise(space)
        self._noise = {n: Blocks(x.kind, plan.seeds, (x.rows * batch, x.width), f"noise:{n}", BLOCK) for n, x in noise.items()}
        self._seen: tuple[Transitions, dict[str, Tensor], dict[str, Tensor]] | None = None

    @abstractmethod
    def draw(self, uniform: Tensor) -> Transitions:
        """(S, b) transitions by (S, b, 2) uniform numbers."""

    def learn(self) -> None:
        """One gradient step of everything that the rule moves."""
        self.mover.rate(share_left(self.given.lr_end, self.count.spent, self.plan.budget))
        batch = self.draw(self._index.at(self.count.updates))
        noise = {name: blocks.at(self.count.updates) for name, blocks in self._noise.items()}
        norms = {}
        for name, loss in self.rule.updates(self.stack, batch, noise):
            norms[name] = self.mover.step([name], loss.mean(-1).sum())
        self.count.updates += 1
        if self.rule.target_clock == "gradient" and self.count.updates % self.rule.target_every == 0:
            self.stack.follow(self.rule.tau)
        self._seen = batch, noise, norms

    def best(self, obs: Tensor) -> Tensor:
        return self.rule.act(self.stack, obs, self.space)

    def tried(self, obs: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        spent = self.count.spent / self.plan.budget
        return self.rule.explore(self.stack, obs, self.space, uniform, normal, spent)

    def value(self, obs: Tensor, action: Tensor) -> Tensor | None:
        return self.rule.value(self.stack, obs, action)

    def probes(self, row: int) -> dict[str, float]:
        if self._seen is None:
            return {}
        batch, noise, norms = self._seen
        found = {name: float(value[row]) for name, value in self.rule.probes(self.stack, batch, noise).items()}
        found |= {f"grad/norm_{name}": float(norm[row]) for name, norm in norms.items()}
        return found | ({"target/drift": float(self.stack.drift()[row])} if self.stack.follows else {})


class Replay(ValueLearning):
    """In a world: `train_every` steps, then `gradient_steps` gradient steps on what is remembered."""

    def __init__(self, rule: ValueRule, plan: Plan, settings: ReplaySettings) -> None:
        seeds, envs = len(plan.seeds), settings.envs
        self.settings, self.worlds = settings, Worlds(plan.task, seeds * envs, starts(plan.seeds, envs, "train"))
        super().__init__(rule, plan, settings, self.worlds.space, settings.batch)
        size = min(settings.buffer, plan.budget + settings.train_every) // envs
        self.buffer = ReplayBuffer(self.space, seeds, envs, size)
        self._uniform = Blocks("uniform", plan.seeds, (envs, 2), "act", BLOCK * 8)
        width = 2 if self.space.discrete else self.space.actions
        self._normal = Blocks("uniform" if self.space.discrete else "normal", plan.seeds, (envs, width), "try", BLOCK * 8)
        self._obs, self._ticks = self.worlds.reset(), 0

    @property
    def exact(self) -> bool:
        return self.worlds.exact

    def advance(self) -> None:
        for _ in range(self.settings.train_every // self.settings.envs):
            self._act()
        if self.count.spent > self.settings.learning_starts:
            for _ in range(self.settings.gradient_steps):
                self.learn()
        self.count.iterations += 1

    @torch.no_grad()
    def _act(self) -> None:
        """One step of every environment, with its transitions remembered."""
        seeds, before = len(self.plan.seeds), self.count.spent
        obs = torch.from_numpy(self._obs)
        uniform, normal = self._uniform.at(self._ticks), self._normal.at(self._ticks)
        if before < self.settings.learning_starts:
            action = self._anything(uniform)
        else:
            action = self.tried(obs.view(seeds, self.settings.envs, -1), uniform, normal)
        action = action.flatten(0, 1)
        step = self.worlds.step(action.numpy())
        self.buffer.add(obs, action, step)
        self._obs, self._ticks = step.obs, self._ticks + 1
        self.count.samples += torch.from_numpy(step.valid).view(seeds, -1).sum(1)
        self.tally(self.worlds)
        if self.rule.target_clock == "environment" and before // self.rule.target_every < self.count.spent // self.rule.target_every:
            self.stack.follow(self.rule.tau)

    def _anything(self, uniform: Tensor) -> Tensor:
        """(S, N, ...) actions, each as likely as another."""
        if self.space.discrete:
            return (uniform[..., 1] * self.space.actions).long()
        # The tails of a Gaussian would not do: this draws evenly from the whole of [-1, 1] in every dimension.
        spread = Blocks("uniform", self.plan.seeds, (self.settings.envs, self.space.actions), f"anything:{self._ticks}", 1).at(0)
        return 2 * spread - 1

    def draw(self, uniform: Tensor) -> Transitions:
        return self.buffer.draw(uniform, self.rule.gamma, self.rule.n_step)

    def probes(self, row: int) -> dict[str, float]:
        found = super().probes(row) | {"buffer/size": self.buffer.filled(row)}
        return found | self.rule.chance(self.count.spent / self.plan.budget)

    def state(self, row: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        tensors, known = super().state(row)
        held = self.worlds.state(range(row * self.settings.envs, (row + 1) * self.settings.envs))
        worlds = {name: torch.from_numpy(value) for name, value in held.items()}
        return tensors | {"worlds": worlds, "replay": self.buffer.state(row)}, known | {"ticks": self._ticks}

    def restore(self, states: Sequence[tuple[dict[str, dict[str, Tensor]], dict[str, Any]]]) -> None:
        super().restore(states)
        for row, (tensors, known) in enumerate(states):
            self.buffer.restore(row, tensors["replay"])
            self._ticks = known["ticks"]
        self._obs = self.worlds.restore([{name: x.numpy() for name, x in tensors["worlds"].items()} for tensors, _ in states])

    def close(self) -> None:
        self.worlds.close()


class Log(ValueLearning):
    """On a fixed log, the same for all seeds: a gradient step at a time, each of which counts as a sample."""

    def __init__(self, rule: ValueRule, plan: Plan, settings: LogSettings) -> None:
        assert isinstance(plan.task, LogTask)
        episodes = episodes_of(plan.task)
        with closing(Worlds(plan.task, 1, starts(plan.seeds, 1, "train"))) as worlds:
            super().__init__(rule, plan, settings, worlds.space, settings.batch)
            self.log = transitions(episodes, worlds, rule.gamma, rule.n_step)
        self.facts = facts(episodes)

    def tried(self, obs: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        """What a policy draws; where the rule has no policy but a share of random actions, nothing is at random here."""
        return self.best(obs) if self.rule.chance(1.0) else super().tried(obs, uniform, normal)

    def advance(self) -> None:
        self.learn()
        self.count.samples += 1
        self.count.iterations += 1

    def draw(self, uniform: Tensor) -> Transitions:
        index = (uniform[..., 0] * len(self.log.reward)).long()
        log = self.log
        each = (log.obs, log.action, log.reward, log.next_obs, log.terminal, log.discount)
        return Transitions(*(x[index] for x in each))

    def probes(self, row: int) -> dict[str, float]:
        return super().probes(row) if self.count.updates else self.facts
