"""DAPO: decoupled clip, dynamic sampling, token-level averaging, overlong shaping.

Departures from the paper: tokens are averaged over the optimizer step (as the authors' code does) unless group_average asks for the
formula's reading; rewards keep the task's scale, so the overlong penalty weighs twice what it does among rewards of -1 and 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward
from algorithms.group import GroupRelative


@dataclass(frozen=True, kw_only=True)
class DAPO(GroupRelative):
    """Raises the upper clip, resamples groups without signal, averages over tokens, shapes overlong answers (arXiv 2503.14476, eq. 8)."""

    clip_low: float = 0.2
    clip_high: float = 0.28
    dynamic_sampling: bool = True
    max_rounds: int = 10  # sampling rounds per step, the first included
    on_exhausted: Literal["train_partial", "error"] = "train_partial"
    surplus: Literal["discard", "carry"] = "discard"  # groups beyond the batch; carried ones keep their old_logp and train a step late
    group_average: bool = False
    overlong_soft: bool = True  # eq. 13; the limit is the generation cap
    overlong_cache: float = 0.2  # length of the soft zone, as a share of the limit (4096 of 20480 in the paper)
    overlong_filter: bool = False  # truncated completions leave the loss, not the group's statistics

    clips: ClassVar[bool] = True
    ranges: ClassVar[dict[str, tuple[float, float]]] = GroupRelative.ranges | {
        "clip_low": (0, math.inf),
        "clip_high": (0, math.inf),
        "max_rounds": (1, math.inf),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.overlong_cache <= 1:
            raise ValueError(f"overlong_cache is {self.overlong_cache}; it is a share of the limit, above 0 and at most 1")

    @property
    def rounds(self) -> int:
        return self.max_rounds if self.dynamic_sampling else 1

    def idle(self) -> dict[str, str]:
        known, never = super().idle(), "no group is sampled again; set algo.dynamic_sampling=true"
        if not self.dynamic_sampling:
            known |= dict.fromkeys(("max_rounds", "on_exhausted", "surplus"), never)
        return known if self.overlong_soft else known | {"overlong_cache": "length costs nothing; set algo.overlong_soft=true"}

    def keep(self, batch: Batch) -> Tensor:
        """Groups whose verdicts differ; the unshaped verdict counts, so that length alone never rescues a group."""
        if not self.dynamic_sampling:
            return super().keep(batch)
        verdict = batch.correct if batch.correct is not None else ops.path_return(batch.reward, batch.mask)
        return ops.group_moments(verdict, batch.group)[2] > 0

    def average(self, batch: Batch) -> Tensor:
        mask, dtype = batch.mask, batch.old_logp.dtype
        if self.overlong_filter and batch.truncated is not None:
            mask = mask & ~batch.truncated.bool().unsqueeze(-1)
        return ops.group_token_mean(mask, batch.group, dtype) if self.group_average else ops.token_mean(mask, dtype)

    def credit(self, batch: Batch) -> Credit:
        returns = ops.path_return(self.shaped(batch), batch.mask)
        if self.overlong_soft and batch.limit is not None:
            lengths = batch.mask.sum(-1).to(returns)
            returns = returns + ops.overlong_penalty(lengths, batch.limit, self.overlong_cache * batch.limit)
        return Credit(self.advantage(returns, batch), self.average(batch))

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        ratio = ops.log_ratio(now.logp, batch.old_logp, batch.mask).exp()
        return ops.clipped(ratio, credit.advantage, self.clip_low, self.clip_high)
