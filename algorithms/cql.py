"""CQL: a critic that is pushed down where the log holds no data, so that a policy learnt from the log is not lured there.

With discrete actions the penalty stands beside double DQN and is exact; with continuous ones beside SAC, its log-sum-exp estimated by
importance sampling. Departures from the paper: as in the authors' code, the estimate lacks the constant log(3 K), squared errors have no
1/2 beside a continuous penalty, and the backup is without entropy unless asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from algorithms import tanh_gaussian
from algorithms.dqn import DQN
from algorithms.sac import SAC, choices, soft_value, worth
from algorithms.value import Network, Networks, Noise, Parameter, Space, Transitions, ValueRule, chosen

LARGEST_MULTIPLIER = 1e6


@dataclass(frozen=True, kw_only=True)
class CQL(ValueRule):
    """Adds the log-sum-exp of all actions' values less the logged action's to the critic's loss (arXiv 2006.04779, eq. 4, CQL(H))."""

    weight: float = 1.0  # of the penalty; 5 to 10 is usual with continuous actions
    threshold: float | None = None  # wanted penalty; a learnt multiplier then holds it there (eq. 30, the Lagrange form)
    samples: int = 10  # actions from each of three distributions for the log-sum-exp over continuous actions
    importance: bool = True  # weigh them by the inverse of their density
    backup: Literal["mean_action", "sampled", "soft"] = "mean_action"  # next action, continuous: the mean, a draw, a draw with entropy
    learn_temperature: bool = True
    temperature: float = 1.0

    offline: ClassVar[Literal["both", "only"]] = "only"
    proposes_ahead: ClassVar[bool] = True  # with continuous actions, for the log-sum-exp
    ranges: ClassVar[dict[str, tuple[float, float]]] = ValueRule.ranges | {
        "weight": (0, math.inf),
        "samples": (1, math.inf),
        "temperature": (1e-9, math.inf),
    }

    @property
    def discrete(self) -> DQN:
        """The rule beside which the penalty stands where actions are discrete."""
        return DQN(gamma=self.gamma, double=True)

    @property
    def continuous(self) -> SAC:
        """The same for continuous actions."""
        return SAC(gamma=self.gamma, learn_temperature=self.learn_temperature, temperature=self.temperature, temperature_loss="linear")

    def idle_with(self, space: Space) -> dict[str, str]:
        unused = ("samples", "importance", "backup", "learn_temperature", "temperature")
        return dict.fromkeys(unused, "with discrete actions the penalty is exact and stands beside double DQN") if space.discrete else {}

    def networks(self, space: Space) -> dict[str, Network | Parameter]:
        found = (self.discrete if space.discrete else self.continuous).networks(space)
        return found if self.threshold is None else found | {"log_multiplier": Parameter(1 if space.discrete else 2)}

    def noise(self, space: Space) -> dict[str, Noise]:
        if space.discrete:
            return {}
        spread = {name: Noise("normal", space.actions, self.samples) for name in ("here", "there")}
        return self.continuous.noise(space) | spread | {"anywhere": Noise("uniform", space.actions, self.samples)}

    def updates(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        if batch.discrete:
            yield from self._discrete_updates(nets, batch)
            return
        sac = self.continuous
        now = choices(nets, batch.obs, noise["now"])
        alpha = sac.alpha(nets, now.logp)
        if sac.learns_temperature:
            yield "log_temperature", sac.temperature_error(nets, batch, now)
        error = worth(nets, batch.obs, batch.action) - self.target(nets, batch, noise["next"], alpha).unsqueeze(-2)
        gap = self.gap(nets, batch, noise)
        if self.threshold is not None:
            yield "log_multiplier", self.multiplier_error(nets, gap.detach()).sum(-2)
        yield "q", (error.square() + self.penalty(nets, gap)).sum(-2)
        yield "policy", -soft_value(nets, batch.obs, now, alpha)

    def _discrete_updates(self, nets: Networks, batch: Transitions) -> Iterator[tuple[str, Tensor]]:
        values = nets["q"](batch.obs)
        taken = chosen(values, batch.action)
        gap = values.logsumexp(-1) - taken
        if self.threshold is not None:
            yield "log_multiplier", self.multiplier_error(nets, gap.detach().unsqueeze(-2)).squeeze(-2)
        penalty = self.penalty(nets, gap.unsqueeze(-2)).squeeze(-2)
        yield "q", self.discrete.error(taken, self.discrete.target(nets, batch)) + penalty

    def gap(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> Tensor:
        """(..., 2, B) sampled log-sum-exp of each critic's values less its value of the logged action."""
        obs = repeated(batch.obs, self.samples)
        with torch.no_grad():
            drawn = [tanh_gaussian.sample(nets["policy"](o), noise[name]) for o, name in self._sources(batch, obs)]
        anywhere = 2 * noise["anywhere"] - 1
        drawn.append((anywhere, anywhere.new_full(anywhere.shape[:-1], -anywhere.shape[-1] * math.log(2))))
        each = [worth(nets, obs, action) - (logp.unsqueeze(-2) if self.importance else 0) for action, logp in drawn]
        stacked = torch.cat([x.unflatten(-1, (self.samples, -1)) for x in each], -2)  # (..., 2, 3 K, B)
        return stacked.logsumexp(-2) - worth(nets, batch.obs, batch.action)

    def _sources(self, batch: Transitions, obs: Tensor) -> list[tuple[Tensor, str]]:
        return [(obs, "here"), (repeated(batch.next_obs, self.samples), "there")]

    def penalty(self, nets: Networks, gap: Tensor) -> Tensor:
        """(..., C, B) what C critics' losses gain from their gaps."""
        if self.threshold is None:
            return self.weight * gap
        return self.multiplier(nets).detach().unsqueeze(-1) * self.weight * (gap - self.threshold)

    def multiplier(self, nets: Networks) -> Tensor:
        """(..., C) what holds the penalty at its threshold."""
        return nets["log_multiplier"]().exp().clamp(0, LARGEST_MULTIPLIER)

    def multiplier_error(self, nets: Networks, gap: Tensor) -> Tensor:
        """(..., C, B) whose slope raises the multiplier of a critic where its gap is above the threshold."""
        assert self.threshold is not None
        return -self.multiplier(nets).unsqueeze(-1) * self.weight * (gap - self.threshold)

    @torch.no_grad()
    def target(self, nets: Networks, batch: Transitions, noise: Tensor, alpha: Tensor) -> Tensor:
        """(..., B) reward plus the value of the next state under the policy."""
        if self.backup == "soft":
            return self.continuous.target(nets, batch, noise, alpha)
        output = nets["policy"](batch.next_obs)
        action = tanh_gaussian.mode(output) if self.backup == "mean_action" else tanh_gaussian.sample(output, noise)[0]
        after = worth(nets, batch.next_obs, action, "q_target").amin(-2)
        return batch.reward + batch.discount * (1 - batch.terminal) * after

    def act(self, nets: Networks, obs: Tensor, space: Space) -> Tensor:
        return (self.discrete if space.discrete else self.continuous).act(nets, obs, space)

    def explore(self, nets: Networks, obs: Tensor, space: Space, uniform: Tensor, normal: Tensor, spent: float) -> Tensor:
        """From a log nothing is explored: the greedy action where actions are discrete, a draw of the policy where they are not."""
        return self.act(nets, obs, space) if space.discrete else self.continuous.explore(nets, obs, space, uniform, normal, spent)

    def value(self, nets: Networks, obs: Tensor, action: Tensor) -> Tensor:
        return (self.continuous if action.is_floating_point() else self.discrete).value(nets, obs, action)

    @torch.no_grad()
    def probes(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if batch.discrete:
            values = nets["q"](batch.obs)
            gap = values.logsumexp(-1) - chosen(values, batch.action)
            found = self.discrete.probes(nets, batch, noise) | {
                "cql/gap": gap.mean(-1),
                "cql/q_data": chosen(values, batch.action).mean(-1),
                "cql/q_policy": values.amax(-1).mean(-1),
                "cql/q_random": values.mean((-2, -1)),
            }
        else:
            own = tanh_gaussian.mode(nets["policy"](batch.obs))
            anywhere = 2 * noise["anywhere"][..., : batch.obs.shape[-2], :] - 1
            found = self.continuous.probes(nets, batch, noise) | {
                "cql/gap": self.gap(nets, batch, noise).mean((-2, -1)),
                "cql/q_data": worth(nets, batch.obs, batch.action).mean((-2, -1)),
                "cql/q_policy": worth(nets, batch.obs, own).mean((-2, -1)),
                "cql/q_random": worth(nets, batch.obs, anywhere).mean((-2, -1)),
            }
        return found if self.threshold is None else found | {"cql/multiplier": self.multiplier(nets).mean(-1)}


def repeated(x: Tensor, times: int) -> Tensor:
    """(..., times * B, O) the rows of (..., B, O), all of them again and again."""
    return x.unsqueeze(-3).expand(*x.shape[:-2], times, *x.shape[-2:]).flatten(-3, -2)
