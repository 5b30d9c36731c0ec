"""What the group-relative rules have in common: a completion is judged against the others of its prompt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, PolicyGradient


@dataclass(frozen=True, kw_only=True)
class GroupRelative(PolicyGradient):
    """Group-normalised outcome advantages on every action, averaged per completion (DeepSeekMath, arXiv 2402.03300, eq. 3)."""

    std_eps: float = 1e-4

    group: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = PolicyGradient.ranges | {"std_eps": (0, math.inf)}

    def advantage(self, returns: Tensor, batch: Batch) -> Tensor:
        """(B, T) from (B,) returns."""
        return ops.per_action(ops.group_normalised(returns, batch.group, self.std_eps), batch.mask)

    def average(self, batch: Batch) -> Tensor:
        """(B, T) how much each action counts."""
        return ops.sequence_mean(batch.mask, batch.old_logp.dtype)

    def credit(self, batch: Batch) -> Credit:
        returns = ops.path_return(self.shaped(batch), batch.mask)
        return Credit(self.advantage(returns, batch), self.average(batch))
