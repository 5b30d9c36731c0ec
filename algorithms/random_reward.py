"""Control: what GRPO gains from a reward that knows nothing of the answer (after arXiv 2506.10947)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch
from algorithms.grpo import GRPO


@dataclass(frozen=True, kw_only=True)
class RandomReward(GRPO):
    """Control: GRPO paid by the toss of a coin instead of the verdict (after arXiv 2506.10947)."""

    probability: float = 0.5  # of a reward of 1

    control: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = GRPO.ranges | {"probability": (0, 1)}

    def shaped(self, batch: Batch) -> Tensor:
        """The coin on each path's last action; NaN on a path that could not be scored. Raises ValueError without `batch.chance`."""
        if batch.chance is None:
            raise ValueError("random_reward needs Batch.chance; it is None")
        coin = (batch.chance < self.probability).to(batch.reward)
        return super().shaped(batch.repaid(torch.where(ops.path_return(batch.reward, batch.mask).isnan(), torch.nan, coin)))
