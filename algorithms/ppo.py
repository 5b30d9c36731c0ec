"""PPO: a clipped importance ratio per action, so that several steps can be taken on one rollout batch.

Departures from the paper: gamma = 1, and whitened advantages and clipped values as language-model trainers have them. The pull to the
reference that RLHF uses is `kl` with kl_estimator = "k1", which goes into the reward of every token (arXiv 2203.02155, sec. 3.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward
from algorithms.critic import ActorCritic


@dataclass(frozen=True, kw_only=True)
class PPO(ActorCritic):
    """Clips each action's importance ratio around 1, with a learned value as baseline (arXiv 1707.06347, eq. 7 and 9)."""

    lam: float = 0.95
    value_clip: float | None = 0.5
    whiten: bool = True
    clip: float = 0.2
    dual_clip: float | None = None  # lower bound for A < 0, in multiples of A
    target_kl: float | None = None  # nats per token; beyond 1.5 times this, the rest of the batch trains the critic alone

    clips: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = ActorCritic.ranges | {
        "clip": (0, math.inf),
        "dual_clip": (1, math.inf),
        "target_kl": (1e-6, math.inf),  # less is lost in float32, whose rounding would decide whether the policy steps
    }

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        ratio = ops.log_ratio(now.logp, batch.old_logp, batch.mask).exp()
        return ops.clipped(ratio, credit.advantage, self.clip, self.clip, self.dual_clip)
