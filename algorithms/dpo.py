"""DPO: a classifier of pairs whose logit is the policy's own log-ratio to a reference.

Departures from the paper: the pairs are completions that a verifier judged, sampled as training goes on unless `sampling` says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from algorithms import ops
from algorithms.preference import Preference, Side


@dataclass(frozen=True, kw_only=True)
class DPO(Preference):
    """Widens the gap in log-ratio to a reference between a right and a wrong completion of one prompt (arXiv 2305.18290, eq. 7)."""

    beta: float = 0.1
    label_smoothing: float = 0.0  # share of the pairs whose order is taken to be wrong (conservative DPO)
    per_token: bool = False  # means over tokens instead of sums, so that length cannot buy a margin
    sft_coef: float = 0.0  # weight of the better completion's own mean negative log-probability, against its falling

    ranges: ClassVar[dict[str, tuple[float, float]]] = Preference.ranges | {
        "beta": (0, math.inf),
        "label_smoothing": (0, 0.5),
        "sft_coef": (0, math.inf),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta == 0:
            raise ValueError("beta is 0, where every policy has the same loss; set it above 0, such as 0.1")
        if self.label_smoothing == 0.5:
            raise ValueError("label_smoothing is 0.5, where both orders of a pair are worth the same; set it below 0.5")

    def margin(self, better: Side, worse: Side) -> tuple[Tensor, Tensor]:
        return self._reward(better), self._reward(worse)

    def loss(self, better: Side, worse: Side) -> Tensor:
        gap = self._reward(better) - self._reward(worse)
        value = -(1 - self.label_smoothing) * logsigmoid(gap) - self.label_smoothing * logsigmoid(-gap)
        if self.sft_coef > 0:
            value = value - self.sft_coef * ops.masked(better.logp, better.mask).sum(-1) / better.mask.sum(-1).clamp_min(1)
        return value

    def _reward(self, side: Side) -> Tensor:
        """(P,) beta times the log-ratio to the reference, summed over tokens or averaged."""
        ratio = (ops.masked(side.logp, side.mask) - ops.masked(side.ref_logp, side.mask)).sum(-1)
        return self.beta * (ratio / side.mask.sum(-1).clamp_min(1) if self.per_token else ratio)
