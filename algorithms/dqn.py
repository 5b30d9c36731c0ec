"""DQN: one value for each action, moved towards the reward plus the best value that a delayed copy gives the next state.

Departures from the paper: Adam in place of RMSProp and small networks, as later libraries have them; the step cap of the gradient is the
Huber loss. `double`, `dueling` (two heads on one trunk) and `n_step` are the later refinements, off unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, smooth_l1_loss

from algorithms.value import Network, Networks, Parameter, Space, Transitions, ValueRule, chosen


@dataclass(frozen=True, kw_only=True)
class DQN(ValueRule):
    """Regresses the value of each action to the reward plus a frozen copy's best next value (Mnih et al. 2015, Nature 518, alg. 1)."""

    tau: float = 1.0
    target_every: int = 10_000
    target_clock: Literal["gradient", "environment"] = "environment"
    loss: Literal["huber", "mse"] = "huber"
    double: bool = False  # the network chooses the next action, the copy values it (arXiv 1509.06461, eq. 4)
    dueling: bool = False  # value and advantage heads (arXiv 1511.06581, eq. 9)
    epsilon_start: float = 1.0  # share of random actions
    epsilon_end: float = 0.05
    epsilon_share: float = 0.1  # of the budget, over which it falls

    ranges: ClassVar[dict[str, tuple[float, float]]] = ValueRule.ranges | {
        "epsilon_start": (0, 1),
        "epsilon_end": (0, 1),
        "epsilon_share": (0, 1),
    }

    def networks(self, space: Space) -> dict[str, Network | Parameter]:
        if not space.discrete:
            raise ValueError("dqn values every action in turn, so it needs discrete actions; sac takes continuous ones")
        outputs = space.actions + self.dueling
        return {"q": Network(space.observation, outputs), "q_target": Network(space.observation, outputs, follows="q")}

    def values(self, net: Tensor) -> Tensor:
        """(..., B, A) action values from what a network gives: V + A - mean A where it has two heads."""
        if not self.dueling:
            return net
        value, advantage = net[..., :1], net[..., 1:]
        return value + advantage - advantage.mean(-1, keepdim=True)

    @torch.no_grad()
    def target(self, nets: Networks, batch: Transitions) -> Tensor:
        """(..., B) what the value of the action taken is moved to."""
        after = self.values(nets["q_target"](batch.next_obs))
        best = self.values(nets["q"](batch.next_obs)).argmax(-1) if self.double else after.argmax(-1)
        return batch.reward + batch.discount * (1 - batch.terminal) * chosen(after, best)

    def error(self, value: Tensor, target: Tensor) -> Tensor:
        """(..., B) the regression loss of each transition."""
        return (smooth_l1_loss if self.loss == "huber" else mse_loss)(value, target, reduction="none")

    def updates(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        value = chosen(self.values(nets["q"](batch.obs)), batch.action)
        yield "q", self.error(value, self.target(nets, batch))

    def act(self, nets: Networks, obs: Tensor, space: Space) -> Tensor:
        return self.values(nets["q"](obs)).argmax(-1)

    def epsilon(self, spent: float) -> float:
        """Share of random actions once this share of the budget is spent."""
        gone = min(1.0, spent / self.epsilon_share) if self.epsilon_share else 1.0
        return self.epsilon_start + gone * (self.epsilon_end - self.epsilon_start)

    def chance(self, spent: float) -> dict[str, float]:
        return {"epsilon": self.epsilon(spent)}

    def explore(self, nets: Networks, obs: Tensor, space: Space, uniform: Tensor, normal: Tensor, spent: float) -> Tensor:
        values = self.values(nets["q"](obs))
        other = (uniform[..., 1] * values.shape[-1]).long()
        return torch.where(uniform[..., 0] < self.epsilon(spent), other, values.argmax(-1))

    def value(self, nets: Networks, obs: Tensor, action: Tensor) -> Tensor:
        return chosen(self.values(nets["q"](obs)), action)

    @torch.no_grad()
    def probes(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values, ahead = (self.values(nets["q"](obs)) for obs in (batch.obs, batch.next_obs))
        after = self.values(nets["q_target"](batch.next_obs))
        best = values.topk(min(2, values.shape[-1]), -1).values
        error = self.target(nets, batch) - chosen(values, batch.action)
        overrated = after.amax(-1) - chosen(after, ahead.argmax(-1))
        return {
            "q/mean": values.mean((-2, -1)),
            "q/max": values.amax((-2, -1)),
            "q/action_gap": (best[..., 0] - best[..., -1]).mean(-1),
            "td/abs_mean": error.abs().mean(-1),
            "double/gap": (overrated * (1 - batch.terminal)).mean(-1),
        }
