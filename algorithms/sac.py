"""SAC: a stochastic policy that is paid for its entropy, beside two critics of which the lower one counts.

Departures from the papers: the temperature's loss multiplies its logarithm, as most libraries have it (`temperature_loss=linear` is the
paper's); the density is over [-1, 1], whatever the world's bounds; `n_step` rewards are summed without the entropies between them. With
discrete actions every expectation over actions is exact (arXiv 1910.07207). `version=v1` is the first paper's form, with a value network
and a fixed temperature.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from algorithms import tanh_gaussian
from algorithms.value import Network, Networks, Noise, Parameter, Space, Transitions, ValueRule, chosen, drawn


@dataclass(frozen=True, kw_only=True)
class SAC(ValueRule):
    """Maximises return plus entropy, its temperature learnt, against the lower of two critics (arXiv 1812.05905, eq. 5, 7 and 18)."""

    version: Literal["v1", "v2"] = "v2"  # v1: a value network, its delayed copy as target, fixed temperature (arXiv 1801.01290)
    learn_temperature: bool = True  # v2 only
    temperature: float = 1.0  # at the start; fixed where it is not learnt
    target_entropy: float | None = None  # nats; -A, or 0.89 log A for A discrete actions, unless set
    temperature_loss: Literal["log", "linear"] = "log"

    ranges: ClassVar[dict[str, tuple[float, float]]] = ValueRule.ranges | {"temperature": (1e-9, math.inf)}

    @property
    def learns_temperature(self) -> bool:
        return self.learn_temperature and self.version == "v2"

    def idle(self) -> dict[str, str]:
        known = super().idle()
        if self.version == "v1":
            known["learn_temperature"] = "version v1 has a fixed temperature; set algo.version=v2"
        if not self.learns_temperature:
            remedy = "algo.version=v2" if self.version == "v1" else "algo.learn_temperature=true"
            known |= dict.fromkeys(("target_entropy", "temperature_loss"), f"the temperature is fixed; set {remedy}")
        return known

    def networks(self, space: Space) -> dict[str, Network | Parameter]:
        outputs = space.actions if space.discrete else 2 * space.actions
        critic = (space.observation, space.actions) if space.discrete else (space.observation + space.actions, 1)
        found: dict[str, Network | Parameter] = {"policy": Network(space.observation, outputs), "q": Network(*critic, copies=2)}
        if self.version == "v1":
            value = Network(space.observation, 1)
            return found | {"value": value, "value_target": Network(value.inputs, 1, follows="value")}
        found["q_target"] = Network(*critic, copies=2, follows="q")
        return found | ({"log_temperature": Parameter(1, math.log(self.temperature))} if self.learns_temperature else {})

    def noise(self, space: Space) -> dict[str, Noise]:
        return {} if space.discrete else {name: Noise("normal", space.actions) for name in ("now", "next")}

    def updates(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        now = choices(nets, batch.obs, noise.get("now"))
        alpha = self.alpha(nets, now.logp)
        if self.learns_temperature:
            yield "log_temperature", self.temperature_error(nets, batch, now)
        yield "q", self.critic_error(nets, batch, self.target(nets, batch, noise.get("next"), alpha))
        if self.version == "v1":
            yield "value", (nets["value"](batch.obs).squeeze(-1) - soft_value(nets, batch.obs, now, alpha).detach()).square() / 2
        yield "policy", -soft_value(nets, batch.obs, now, alpha)

    def alpha(self, nets: Networks, like: Tensor) -> Tensor:
        """(..., 1) the temperature, without gradient, in the type of `like`."""
        return nets["log_temperature"]().detach().exp() if self.learns_temperature else like.new_full((1,), self.temperature)

    def wanted_entropy(self, batch: Transitions, now: Choice) -> float:
        """Nats that the temperature steers towards."""
        if self.target_entropy is not None:
            return self.target_entropy
        return 0.89 * math.log(now.logp.shape[-1]) if batch.discrete else -float(batch.action.shape[-1])

    def temperature_error(self, nets: Networks, batch: Transitions, now: Choice) -> Tensor:
        """(..., B) whose slope raises the temperature where the entropy is below the wanted one (eq. 18)."""
        lacking = (now.expected(now.logp) + self.wanted_entropy(batch, now)).detach()
        log_alpha = nets["log_temperature"]()
        return -(log_alpha if self.temperature_loss == "log" else log_alpha.exp()) * lacking

    @torch.no_grad()
    def target(self, nets: Networks, batch: Transitions, noise: Tensor | None, alpha: Tensor) -> Tensor:
        """(..., B) reward plus the entropy-regularised value of the next state, 0 after an end."""
        if self.version == "v1":
            after = nets["value_target"](batch.next_obs).squeeze(-1)
        else:
            after = soft_value(nets, batch.next_obs, choices(nets, batch.next_obs, noise), alpha, "q_target")
        return batch.reward + batch.discount * (1 - batch.terminal) * after

    def critic_error(self, nets: Networks, batch: Transitions, target: Tensor) -> Tensor:
        """(..., B) half the squared errors of both critics, summed."""
        return ((worth(nets, batch.obs, batch.action) - target.unsqueeze(-2)).square() / 2).sum(-2)

    def act(self, nets: Networks, obs: Tensor, space: Space) -> Tensor:
        output = nets["policy"](obs)
        return output.argmax(-1) if space.discrete else tanh_gaussian.mode(output)

    def explore(self, nets: Networks, obs: Tensor, space: Space, uniform: Tensor, normal: Tensor, spent: float) -> Tensor:
        output = nets["policy"](obs)
        return drawn(output.softmax(-1), uniform[..., 0]) if space.discrete else tanh_gaussian.sample(output, normal)[0]

    def value(self, nets: Networks, obs: Tensor, action: Tensor) -> Tensor:
        return worth(nets, obs, action).amin(-2)

    @torch.no_grad()
    def probes(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        now = choices(nets, batch.obs, noise.get("now"))
        alpha = self.alpha(nets, now.logp)
        both = worth(nets, batch.obs, batch.action)
        error = both - self.target(nets, batch, noise.get("next"), alpha).unsqueeze(-2)
        entropy = -now.expected(now.logp).mean(-1)
        found = {
            "entropy/policy": entropy,
            "q/mean": both.mean((-2, -1)),
            "q/max": both.amax((-2, -1)),
            "q/disagreement": (both[..., 0, :] - both[..., 1, :]).abs().mean(-1),
            "td/abs_mean": error.abs().mean((-2, -1)),
            "policy/loss": -soft_value(nets, batch.obs, now, alpha).mean(-1),
        }
        if self.learns_temperature:
            found |= {"temperature": alpha.squeeze(-1), "entropy/surplus": entropy - self.wanted_entropy(batch, now)}
        return found if now.action is None else found | {"policy/saturated": (now.action.abs() > 0.99).to(entropy).mean((-2, -1))}


@dataclass(frozen=True)
class Choice:
    """What a policy does in each state: one continuous action drawn, or every discrete one weighed by its probability."""

    action: Tensor | None  # (..., B, A) in [-1, 1]; None where actions are discrete
    logp: Tensor  # (..., B) of that action, or (..., B, A) of all

    def expected(self, x: Tensor) -> Tensor:
        """(..., B) mean of x over the policy: x itself where one action was drawn."""
        return x if self.action is not None else (self.logp.exp() * x).sum(-1)


def choices(nets: Networks, obs: Tensor, noise: Tensor | None) -> Choice:
    """The policy's choice in each state; continuous, by the (..., B, A) noise, where there is any."""
    output = nets["policy"](obs)
    return Choice(None, output.log_softmax(-1)) if noise is None else Choice(*tanh_gaussian.sample(output, noise))


def soft_value(nets: Networks, obs: Tensor, choice: Choice, alpha: Tensor, critic: str = "q") -> Tensor:
    """(..., B) expected value of the lower critic plus alpha times the entropy, under a choice."""
    if choice.action is None:
        return choice.expected(nets[critic](obs).amin(-3) - alpha.unsqueeze(-1) * choice.logp)
    return worth(nets, obs, choice.action, critic).amin(-2) - alpha * choice.logp


def worth(nets: Networks, obs: Tensor, action: Tensor, critic: str = "q") -> Tensor:
    """(..., 2, B) both critics' values of one action in each state."""
    if action.is_floating_point():
        found: Tensor = nets[critic](torch.cat([obs, action], -1)).squeeze(-1)
        return found
    values = nets[critic](obs)
    return chosen(values, action.unsqueeze(-2).expand(values.shape[:-1]))
