"""A2C: one policy-gradient step per rollout batch, with a critic as baseline.

Departures from the paper (A3C, of which this is the synchronous form): lambda-returns instead of n steps (equal at lambda = 1), gamma = 1
because an answer is short, no entropy bonus unless asked for, and the optimizer is the loop's.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward
from algorithms.critic import ActorCritic


@dataclass(frozen=True, kw_only=True)
class A2C(ActorCritic):
    """Raises the log-probability of each action by its advantage over a learned value, one step per batch (arXiv 1602.01783, sec. 4)."""

    @property
    def updates_once(self) -> bool:
        return True

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return ops.masked(now.logp, batch.mask) * credit.advantage
