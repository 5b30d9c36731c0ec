"""SAPO: a smooth gate in place of the clip.

Departures from the paper: Bessel's standard deviation plus std_eps. The two tanh gates are not in the literature; they are kept, off,
because they circulate under this name. `tanh` trusts good tokens beyond the band and blocks their correction (an inverted trust region);
`tanh_pessimistic` swaps the weights and tends to PPO's clip as eta grows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward
from algorithms.group import GroupRelative


@dataclass(frozen=True, kw_only=True)
class SAPO(GroupRelative):
    """Fades each token out by sech^2(tau (r - 1) / 2) as it leaves the sampling policy (arXiv 2511.20347, eq. 6)."""

    tau_pos: float = 1.0
    tau_neg: float = 1.05  # sharper where the advantage is negative, and where it is zero
    gate: Literal["sigmoid", "tanh", "tanh_pessimistic"] = "sigmoid"
    clip: float = 0.2  # band of the tanh gates
    eta: float = 1.0  # sharpness of the tanh gates
    offset: float = 0.0  # advantage at which the tanh gates switch

    ranges: ClassVar[dict[str, tuple[float, float]]] = GroupRelative.ranges | {
        "tau_pos": (1e-9, math.inf),
        "tau_neg": (1e-9, math.inf),
        "clip": (0, math.inf),
        "eta": (0, math.inf),
    }

    def idle(self) -> dict[str, str]:
        others = ("clip", "eta", "offset") if self.gate == "sigmoid" else ("tau_pos", "tau_neg")
        return super().idle() | dict.fromkeys(others, f"gate is {self.gate}, which does not have it; choose another algo.gate")

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        ratio, advantage = ops.log_ratio(now.logp, batch.old_logp, batch.mask).exp(), credit.advantage
        if self.gate == "sigmoid":
            positive = torch.full_like(advantage, self.tau_pos)
            tau = torch.where(advantage > 0, positive, torch.full_like(advantage, self.tau_neg))
            return ops.masked(ops.sigmoid_gate(ratio, tau) * advantage, batch.mask)
        sign = 1 if self.gate == "tanh" else -1
        return ops.tanh_mixture(ratio, sign * advantage, self.clip, self.eta, sign * self.offset) * advantage
