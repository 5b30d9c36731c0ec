"""Control: what GRPO gains from steps of the right size in directions that have nothing to do with the verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch
from algorithms.grpo import GRPO


@dataclass(frozen=True, kw_only=True)
class ShuffledAdvantage(GRPO):
    """Control: GRPO with every completion given the advantage of another one of the rollout batch."""

    control: ClassVar[bool] = True

    def advantage(self, returns: Tensor, batch: Batch) -> Tensor:
        """(B, T) from (B,) returns: paths in a random circle, each with its neighbour's. Raises ValueError without `batch.chance`."""
        if batch.chance is None:
            raise ValueError("shuffled_advantage needs Batch.chance; it is None")
        own = ops.group_normalised(returns, batch.group, self.std_eps)
        order = batch.chance.argsort(stable=True)
        other = torch.empty_like(own).index_copy(0, order, own[order.roll(1)])
        return ops.per_action(torch.where(returns.isnan(), torch.zeros_like(own), other), batch.mask)
