"""VESPO: a smooth weight of the whole completion's importance ratio, in place of any clip.

Departure from the paper: Bessel's standard deviation plus std_eps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward
from algorithms.group import GroupRelative


@dataclass(frozen=True, kw_only=True)
class VESPO(GroupRelative):
    """Log-probabilities weighted by the advantage and by w^k exp(lam (1 - w)), w the completion's ratio, without slope (arXiv 2602.10693).

    The weight is 1 at w = 1 and falls on both sides of w = k / lam, faster for the greater k and lam.
    """

    k_pos: float = 2.0  # where A >= 0
    lam_pos: float = 3.0
    k_neg: float = 3.0
    lam_neg: float = 2.0

    ranges: ClassVar[dict[str, tuple[float, float]]] = GroupRelative.ranges | dict.fromkeys(
        ("k_pos", "lam_pos", "k_neg", "lam_neg"), (0, math.inf)
    )

    def average(self, batch: Batch) -> Tensor:
        return ops.token_mean(batch.mask, batch.old_logp.dtype)

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        log_ratio = ops.path_log_ratio(now.logp, batch.old_logp, batch.mask)
        better = credit.advantage >= 0
        k, lam = (torch.where(better, *pair) for pair in ((self.k_pos, self.k_neg), (self.lam_pos, self.lam_neg)))
        weight = (k * log_ratio + lam * (1 - log_ratio.exp())).exp().detach()
        return weight * ops.masked(now.logp, batch.mask) * credit.advantage
