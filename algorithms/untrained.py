"""Control: the start model, sampled and evaluated like any other run and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, PolicyGradient


@dataclass(frozen=True, kw_only=True)
class Untrained(PolicyGradient):
    """Control: gives no completion any credit, so the start model stays as it is."""

    control: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    def credit(self, batch: Batch) -> Credit:
        return Credit(torch.zeros_like(batch.old_logp), ops.token_mean(batch.mask, batch.old_logp.dtype))

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return ops.masked(now.logp, batch.mask) * credit.advantage
