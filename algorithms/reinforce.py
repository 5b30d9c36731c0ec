"""REINFORCE: the plain score-function gradient with a choice of baselines.

Departures from Williams (1992): actions are averaged over the rollout batch (`normaliser`), which keeps the direction of the unbiased
estimator and makes learning rates comparable with the other rules. With `ratio_cap` set, several optimizer steps per rollout batch are
allowed and each action is weighted by its truncated importance ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, PolicyGradient

Baseline = Literal["none", "batch_loo", "group_loo", "ema", "whiten"]


@dataclass(frozen=True, kw_only=True)
class Reinforce(PolicyGradient):
    """Raises the log-probability of each action by its return above a baseline (Williams 1992; baselines: RLOO, arXiv 2402.14740)."""

    baseline: Baseline = "batch_loo"
    gamma: float = 1.0
    decay: float = 0.9  # of the moving average over earlier rollout batches (baseline "ema")
    normaliser: Literal["tokens", "paths", "limit"] = "tokens"  # divide the sum over actions by M, by N, or by N times the length limit
    ratio_cap: float | None = None

    ranges: ClassVar[dict[str, tuple[float, float]]] = PolicyGradient.ranges | {
        "gamma": (0, 1),
        "decay": (0, 1),
        "ratio_cap": (0, math.inf),
    }

    @property
    def updates_once(self) -> bool:
        return self.ratio_cap is None

    def idle(self) -> dict[str, str]:
        known = super().idle()
        return known if self.baseline == "ema" else known | {"decay": f"baseline is {self.baseline}; set algo.baseline=ema"}

    def credit(self, batch: Batch) -> Credit:
        mask = batch.mask
        to_go = ops.reward_to_go(self.shaped(batch), mask, self.gamma)
        if self.baseline == "whiten":
            advantage = ops.whitened(to_go, mask)
        else:
            returns = to_go.gather(-1, mask.int().argmax(-1, keepdim=True)).squeeze(-1)  # at each path's first action
            advantage = to_go - self._expected(returns, batch).unsqueeze(-1)
        return Credit(ops.masked(advantage.nan_to_num(0.0), mask), self._weight(batch), per_path=self.normaliser != "tokens")

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        value = ops.masked(now.logp, batch.mask) * credit.advantage
        if self.ratio_cap is None:
            return value
        ratio = ops.log_ratio(now.logp, batch.old_logp, batch.mask).exp().detach()
        return ratio.clamp_max(self.ratio_cap) * value

    def _expected(self, returns: Tensor, batch: Batch) -> Tensor:
        """(B,) the baseline of each path, from (B,) returns; never from the path's own."""
        if self.baseline == "group_loo":
            return ops.leave_one_out(returns, batch.group)
        if self.baseline == "batch_loo":
            return ops.leave_one_out(returns, torch.zeros_like(batch.group))
        if self.baseline == "ema" and batch.history is not None:
            return ops.moving_average(batch.history.to(returns), self.decay).expand_as(returns)
        return torch.zeros_like(returns)

    def _weight(self, batch: Batch) -> Tensor:
        if self.normaliser == "tokens":
            return ops.token_mean(batch.mask, batch.old_logp.dtype)
        longest = 1 if self.normaliser == "paths" else batch.longest
        return ops.path_sum(batch.mask, longest, batch.old_logp.dtype)
