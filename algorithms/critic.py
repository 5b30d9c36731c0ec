"""What the rules with a critic have in common: a learned value of every state, and generalised advantages above it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, PolicyGradient


@dataclass(frozen=True, kw_only=True)
class ActorCritic(PolicyGradient):
    """Generalised advantages (arXiv 1506.02438) on every action, averaged over tokens, beside a regression of the values.

    The loss of an optimizer step is `-(weight * objective).sum() + value_coef * (weight * value_loss).sum()`.
    """

    gamma: float = 1.0
    lam: float = 1.0
    value_coef: float = 0.5  # weight of the value loss; with an optimizer of its own, only gradient clipping and eps feel it
    value_clip: float | None = None  # how far a value may move from the sampling critic's before its gradient stops
    whiten: bool = False  # advantages to zero mean and unit deviation over the rollout batch

    critic: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = PolicyGradient.ranges | {
        "gamma": (0, 1),
        "lam": (0, 1),
        "value_coef": (0, math.inf),
        "value_clip": (0, math.inf),
    }

    def credit(self, batch: Batch) -> Credit:
        """Targets are advantage + old_value, before any whitening. Raises ValueError where the batch lacks `old_value`."""
        mask, value = batch.mask, old_value(batch)
        bootstrap = torch.zeros_like(value) if batch.bootstrap is None else batch.bootstrap
        end = torch.zeros_like(mask) if batch.end is None else batch.end.bool()
        advantage = ops.gae(self.shaped(batch), value, mask, self.gamma, self.lam, bootstrap, end)
        target = ops.masked(advantage + value, mask)
        unscored = advantage.isnan()  # a path that could not be scored teaches neither part
        target = torch.where(unscored, value, target)
        advantage = ops.whitened(advantage, mask) if self.whiten else advantage.masked_fill(unscored, 0.0)
        return Credit(advantage, ops.token_mean(mask, value.dtype), target)

    def value_loss(self, value: Tensor, batch: Batch, credit: Credit) -> Tensor:
        """(B, T) half squared errors of the current critic's (B, T) values; 0 outside the mask. Raises ValueError without a target."""
        if credit.target is None:
            raise ValueError("a value loss needs Credit.target; it is None")
        return ops.value_error(value, old_value(batch), credit.target, batch.mask, self.value_clip)


def old_value(batch: Batch) -> Tensor:
    """(B, T) the sampling critic's values. Raises ValueError where the batch has none."""
    if batch.old_value is None:
        raise ValueError("a rule with a critic needs Batch.old_value; it is None")
    return batch.old_value
