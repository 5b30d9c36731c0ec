"""The policy of the policy-gradient rules on Gymnasium: categorical, or Gaussian with a deviation that no state changes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from algorithms.base import Forward
from algorithms.value import Network, Parameter, Space, drawn
from bench.control.stack import Stack


def parts(space: Space, critic: bool) -> dict[str, Network | Parameter]:
    """The networks that an actor needs."""
    found: dict[str, Network | Parameter] = {"policy": Network(space.observation, space.actions, gain=0.01)}
    if not space.discrete:
        found["log_std"] = Parameter(space.actions)
    return found | ({"value": Network(space.observation, 1)} if critic else {})


class Actor:
    """What S policies do in (S, M, O) states. Continuous actions are unbounded here: the world clips them, their density does not."""

    def __init__(self, stack: Stack, space: Space) -> None:
        self.stack, self.space = stack, space

    def best(self, obs: Tensor) -> Tensor:
        """(S, M) or (S, M, A) the likeliest action."""
        output = self.stack["policy"](obs)
        return output.argmax(-1) if self.space.discrete else output

    def sample(self, obs: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        """(S, M) actions by (S, M) uniform numbers, or (S, M, A) by (S, M, A) normal ones."""
        output = self.stack["policy"](obs)
        if self.space.discrete:
            return drawn(output.softmax(-1), uniform)
        return output + self.stack["log_std"]().exp().unsqueeze(1) * normal

    def forward(self, obs: Tensor, action: Tensor) -> Forward:
        """Log-probability, entropy and, with a critic, value of each action, (S, M) each, with gradients."""
        output = self.stack["policy"](obs)
        if self.space.discrete:
            every = output.log_softmax(-1)
            logp, entropy = every.gather(-1, action.unsqueeze(-1)).squeeze(-1), -(every.exp() * every).sum(-1)
        else:
            log_std = self.stack["log_std"]().unsqueeze(1)
            each = -((action - output) / log_std.exp()).square() / 2 - log_std - math.log(2 * math.pi) / 2
            logp, entropy = each.sum(-1), (log_std + (1 + math.log(2 * math.pi)) / 2).sum(-1).expand(obs.shape[:-1])
        return Forward(logp, entropy, self.value(obs) if "value" in self.stack else None)

    def value(self, obs: Tensor) -> Tensor:
        """(S, M) what the critic expects of each state."""
        value: Tensor = self.stack["value"](obs).squeeze(-1)
        return value

    def spread(self) -> Tensor:
        """(S,) mean deviation of a continuous action."""
        return torch.exp(self.stack["log_std"]().detach()).mean(-1)
