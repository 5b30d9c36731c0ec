"""The types a learning rule consumes and produces.

Axis letters: B paths, T actions. In text a path is a completion and an action is a token; on Gymnasium a path is an episode or a
rollout segment and an action is a step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from algorithms import ops

KLEstimator = Literal["k1", "k2", "k3", "k3+", "ratio_k3"]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B paths of at most T actions, sampled by the policy that `old_logp` belongs to. Positions outside `mask` may hold anything."""

    group: Tensor  # (B,) integer: paths that started in the same state (completions of one prompt) share a number
    reward: Tensor  # (B, T) reward of each action as the task gave it, before any shaping; in text it sits on the last valid token
    mask: Tensor  # (B, T) bool or 0/1: the actions the policy chose, the end token included
    old_logp: Tensor  # (B, T) log-probability under the sampling policy, natural logarithm
    ref_logp: Tensor | None = None  # (B, T) log-probability under the frozen reference
    old_value: Tensor | None = None  # (B, T) value of the state before each action, from the critic at sampling time
    bootstrap: Tensor | None = None  # (B, T) value of the true next state where a path is cut; 0 where the world ended
    end: Tensor | None = None  # (B, T) bool: the path ends after this action
    truncated: Tensor | None = None  # (B,) bool: cut by the length limit instead of ending by itself
    correct: Tensor | None = None  # (B,) the verifier's verdict in [0, 1], which no shaping touches
    formatted: Tensor | None = None  # (B,) 1 where the answer has the form that the task asks for, right or wrong
    chance: Tensor | None = None  # (B,) uniform random numbers in [0, 1), drawn by the loop, for rules that take a choice
    limit: int | None = None  # the most actions a path may have; T where None
    history: Tensor | None = None  # (K,) mean return of each earlier rollout batch of this run, oldest first

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", self.mask.bool())

    @property
    def longest(self) -> int:
        """The most actions a path may have."""
        return self.limit or self.mask.shape[1]

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        moved: dict[str, Any] = {f.name: v.to(device) for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **moved)

    def repaid(self, returns: Tensor) -> Batch:
        """The same batch with (B,) other returns, each on the last valid action of its path."""
        place = torch.arange(self.mask.shape[1], device=self.mask.device)
        last = place == torch.where(self.mask, place, -1).amax(-1, keepdim=True)
        return replace(self, reward=torch.where(last & self.mask, returns.unsqueeze(-1), torch.zeros_like(self.reward)))

    def rows(self, index: Tensor) -> Batch:
        """The paths that `index` names, a (b,) tensor of row numbers."""
        paths = len(self.group)
        shared = {"history", "limit"}
        held = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in shared}
        taken: dict[str, Any] = {k: v[index] for k, v in held.items() if v is not None and len(v) == paths}
        return replace(self, **taken)


@dataclass(frozen=True)
class Forward:
    """What the current policy says of a batch, with gradients; all (B, T)."""

    logp: Tensor
    entropy: Tensor | None = None  # full-distribution Shannon entropy of each choice, in nats
    value: Tensor | None = None


@dataclass(frozen=True)
class Credit:
    """Who deserves what, and how actions are averaged: fixed once per rollout batch, without gradient; all (B, T)."""

    advantage: Tensor
    weight: Tensor  # 0 outside the mask; sums to 1 over the rollout batch, unless `per_path`
    target: Tensor | None = None  # what a critic regresses to
    per_path: bool = False  # the weights are those of a mean over paths of a plain sum over actions, so longer paths weigh more in all

    def rows(self, index: Tensor) -> Credit:
        """The credit of one optimizer step, its weights rescaled so that each step is the same average as the whole batch's.

        They then have the whole batch's sum; or, `per_path`, are divided by the number of this step's paths instead of the batch's.
        """
        weight = self.weight[index]
        part, whole = (w.any(-1).sum().to(w) if self.per_path else w.sum() for w in (weight, self.weight))
        share = part / whole.clamp_min(torch.finfo(weight.dtype).tiny)
        weight = torch.where(share > 0, weight / share.clamp_min(torch.finfo(weight.dtype).tiny), weight)
        return Credit(self.advantage[index], weight, None if self.target is None else self.target[index], self.per_path)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What every learning rule states about itself; its fields are its settings."""

    critic: ClassVar[bool] = False  # needs old_value, and a value in Forward
    group: ClassVar[bool] = False  # needs several paths per start state
    verdicts: ClassVar[bool] = False  # cannot do without `correct`
    forms: ClassVar[bool] = False  # cannot do without `formatted`
    control: ClassVar[bool] = False  # run like a rule in order to be beaten by the rules; it need not learn
    learns: ClassVar[bool] = True  # False: the start model is to stay as it is

    ranges: ClassVar[dict[str, tuple[float, float]]] = {}  # bounds included

    def __post_init__(self) -> None:
        """Raises ValueError for a setting outside its range, and for a name that is none of its choices."""
        hints = get_type_hints(type(self))
        for field in fields(self):
            value, choices = getattr(self, field.name), get_args(hints[field.name])
            if get_origin(hints[field.name]) is Literal and value not in choices:
                raise ValueError(f"{field.name} is {value!r}; choose one of {', '.join(map(repr, choices))}")
        for name, (low, high) in self.ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                allowed = f"{low:g} or more" if high == math.inf else f"between {low:g} and {high:g}"
                raise ValueError(f"{name} is {value}; it must be {allowed}")

    @property
    def reference(self) -> bool:
        """Whether batches must carry `ref_logp`."""
        return False

    @property
    def updates_once(self) -> bool:
        """Whether each rollout batch may feed one optimizer step only."""
        return False

    @property
    def rounds(self) -> int:
        """How often the loop may sample to fill a rollout batch that `keep` thinned out; 1: never again."""
        return 1

    def idle(self) -> dict[str, str]:
        """Settings that have no effect as the others stand, by name, each with why and what would give it one."""
        return {}

    def keep(self, batch: Batch) -> Tensor:
        """(B,) bool: the paths worth training on. What is dropped stays in the budget; the loop may sample again in its place."""
        return torch.ones_like(batch.group, dtype=torch.bool)


@dataclass(frozen=True, kw_only=True)
class PolicyGradient(Rule, ABC):
    """A rule that raises the log-probability of what paid off: `credit` once per rollout batch, `objective` once per minibatch.

    The loss of an optimizer step is `-(credit.weight * objective).sum()`. Both methods are pure: tensors in, tensors out.
    """

    kl: float = 0.0  # strength of the pull towards the frozen reference
    kl_estimator: KLEstimator = "k3"  # k1 goes into the reward, the others into the loss (k1 has no gradient there)
    kl_target: float | None = None  # nats per token; adapts kl after each rollout batch so that the divergence stays near
    kl_horizon: int = 10_000  # completions over which that adaptation works; a larger rollout batch counts as so many
    entropy_bonus: float = 0.0  # reward per nat of entropy, averaged with the rule's own weights

    clips: ClassVar[bool] = False  # shuts the gate of some actions entirely
    ranges: ClassVar[dict[str, tuple[float, float]]] = Rule.ranges | {
        "kl": (0, math.inf),
        "kl_target": (1e-9, math.inf),
        "kl_horizon": (1, math.inf),
        "entropy_bonus": (0, math.inf),
    }

    @property
    def reference(self) -> bool:
        return self.kl > 0

    def idle(self) -> dict[str, str]:
        return super().idle() | ({"kl_horizon": "algo.kl does not adapt; set algo.kl_target"} if self.kl_target is None else {})

    @abstractmethod
    def credit(self, batch: Batch) -> Credit:
        """Advantage and averaging weight of every action of the whole rollout batch."""

    @abstractmethod
    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        """(B, T) the rule's own objective per action, to be maximised; 0 outside the mask."""

    def objective(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        """(B, T) the surrogate with the reference pull and the entropy bonus that the settings ask for.

        Raises ValueError where a setting needs a tensor that `batch` or `now` lacks.
        """
        value = self.surrogate(now, batch, credit)
        if self.kl > 0 and self.kl_estimator != "k1":
            value = value - self.kl * ops.kl_in_loss(self.kl_estimator, now.logp, batch.old_logp, _reference(batch), batch.mask)
        if self.entropy_bonus > 0:
            if now.entropy is None:
                raise ValueError("an entropy bonus needs Forward.entropy; it is None")
            value = value + self.entropy_bonus * ops.masked(now.entropy, batch.mask)
        return value

    def shaped(self, batch: Batch) -> Tensor:
        """(B, T) rewards, 0 outside the mask, with the in-reward penalty -kl * (log pi_old - log pi_ref) where the settings ask for it."""
        reward = ops.masked(batch.reward, batch.mask)
        if self.kl > 0 and self.kl_estimator == "k1":
            reward = reward - self.kl * ops.masked(batch.old_logp - _reference(batch), batch.mask)
        return reward


def _reference(batch: Batch) -> Tensor:
    if batch.ref_logp is None:
        raise ValueError("a pull to the reference (kl > 0) needs Batch.ref_logp; it is None")
    return batch.ref_logp
