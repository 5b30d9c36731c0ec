"""Control: what GRPO gains from answering in the form that is asked for, right or wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch
from algorithms.grpo import GRPO


@dataclass(frozen=True, kw_only=True)
class FormatReward(GRPO):
    """Control: GRPO paid for the form of an answer instead of its being right (after arXiv 2506.10947)."""

    control: ClassVar[bool] = True
    forms: ClassVar[bool] = True

    def shaped(self, batch: Batch) -> Tensor:
        """The verdict on the form, on each path's last action; NaN on a path that could not be scored.

        Raises ValueError where the task's verifier tells nothing of the form.
        """
        if batch.formatted is None:
            raise ValueError('format_reward needs Batch.formatted, which comes from the part "format" of a task\'s scores; it is None')
        form = batch.formatted.to(batch.reward)
        return super().shaped(batch.repaid(torch.where(ops.path_return(batch.reward, batch.mask).isnan(), torch.nan, form)))
