"""What rules that learn from single transitions consume and produce: value functions, and policies that follow them.

Axis letters: B transitions, O numbers of an observation, A dimensions of an action, or how many discrete actions there are. Every tensor
may carry further axes in front, one over seeds for instance: losses keep their (..., B) elements, so a mean over B for each seed makes
independent losses of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from algorithms.base import Rule

Networks = Mapping[str, Callable[..., Tensor]]


@dataclass(frozen=True)
class Space:
    """What a network sees and what it chooses among."""

    observation: int  # length of an observation
    actions: int  # how many discrete actions, or dimensions of a continuous one
    discrete: bool


@dataclass(frozen=True)
class Transitions:
    """B steps of the world. Continuous actions lie in [-1, 1], whatever the world's own bounds."""

    obs: Tensor  # (..., B, O)
    action: Tensor  # (..., B) integers, or (..., B, A) numbers
    reward: Tensor  # (..., B), of n steps where the rule asks for n
    next_obs: Tensor  # (..., B, O) the true state after them, also where a time limit cut the episode
    terminal: Tensor  # (..., B) 1 where the world ended there, 0 otherwise, a time limit included
    discount: Tensor  # (..., B) of the value of next_obs: gamma to the number of steps

    @property
    def discrete(self) -> bool:
        return not self.action.is_floating_point()


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron that a rule asks for. Called with (..., B, inputs) it gives (..., B, outputs).

    `copies` of it side by side, each with weights of its own, give (..., copies, B, outputs).
    """

    inputs: int
    outputs: int
    copies: int = 1
    follows: str | None = None  # a delayed copy of that network, which no loss moves
    gain: float = 1.0  # of the last layer, where layers start orthogonal


@dataclass(frozen=True)
class Parameter:
    """Numbers that a rule learns beside its networks. Called without arguments it gives (..., size)."""

    size: int = 1
    initial: float = 0.0


@dataclass(frozen=True)
class Noise:
    """Random numbers that one update consumes: (..., rows * B, width), standard normal or uniform in [0, 1)."""

    kind: Literal["normal", "uniform"]
    width: int
    rows: int = 1


@dataclass(frozen=True, kw_only=True)
class ValueRule(Rule, ABC):
    """A rule that learns from transitions in any order. All methods are pure: tensors in, tensors out."""

    gamma: float = 0.99
    n_step: int = 1  # rewards summed before the value of the state that follows
    tau: float = 0.005  # how far a delayed copy moves towards its network at a time; 1 copies it
    target_every: int = 1  # gradient steps between those moves, or environment steps where `target_clock` says so
    target_clock: Literal["gradient", "environment"] = "gradient"

    offline: ClassVar[Literal["both", "only"]] = "both"  # may learn from a log, or learns from nothing else
    proposes_ahead: ClassVar[bool] = False  # tries what the policy does in the next state in this one, too, also after an end
    ranges: ClassVar[dict[str, tuple[float, float]]] = Rule.ranges | {
        "gamma": (0, 1),
        "n_step": (1, math.inf),
        "tau": (1e-9, 1),
        "target_every": (1, math.inf),
    }

    def idle_with(self, space: Space) -> dict[str, str]:
        """The same as `idle` for settings that this kind of world leaves without effect."""
        return {}

    @abstractmethod
    def networks(self, space: Space) -> dict[str, Network | Parameter]:
        """Everything that is learnt or follows, by name. Raises ValueError for a kind of action the rule cannot handle."""

    def noise(self, space: Space) -> dict[str, Noise]:
        """The random numbers that `updates` takes; none unless the rule says so."""
        return {}

    @abstractmethod
    def updates(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yields the name of what to move and its (..., B) loss; the caller has moved it by the time it asks for the next."""

    @abstractmethod
    def act(self, nets: Networks, obs: Tensor, space: Space) -> Tensor:
        """The best action in each state, (..., B) or (..., B, A), without exploration."""

    @abstractmethod
    def explore(self, nets: Networks, obs: Tensor, space: Space, uniform: Tensor, normal: Tensor, spent: float) -> Tensor:
        """The action to try in each state, from (..., B, 2) uniform and (..., B, A) normal numbers; `spent` is the share of the budget."""

    def chance(self, spent: float) -> dict[str, float]:
        """By name, how much of `explore` is at random after this share of the budget; none for a rule with a policy to draw from."""
        return {}

    def value(self, nets: Networks, obs: Tensor, action: Tensor) -> Tensor | None:
        """(..., B) what the rule takes an action to be worth; None for a rule without values."""
        return None

    @abstractmethod
    def probes(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Diagnostics of a batch, each (...): one number for each seed."""


def chosen(values: Tensor, action: Tensor) -> Tensor:
    """(..., B) the entry of (..., B, A) that each (..., B) action names."""
    return values.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def drawn(probability: Tensor, uniform: Tensor) -> Tensor:
    """(..., B) actions from (..., B, A) probabilities and (..., B) uniform numbers, by the inverse of the distribution function."""
    last = probability.shape[-1] - 1
    return (probability.cumsum(-1) <= uniform.unsqueeze(-1)).sum(-1).clamp_max(last)
