"""Control: supervised fine-tuning on the completions that were right, also known as rejection fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, PolicyGradient


@dataclass(frozen=True, kw_only=True)
class SFTOnCorrect(PolicyGradient):
    """Control: raises the likelihood of right completions and does nothing else (rejection fine-tuning, after arXiv 2308.01825)."""

    verdicts: ClassVar[bool] = True
    control: ClassVar[bool] = True

    def idle(self) -> dict[str, str]:
        unpaid = "k1 goes into the reward, of which there is none here; choose another algo.kl_estimator"
        return super().idle() | ({"kl": unpaid} if self.kl_estimator == "k1" else {})

    def credit(self, batch: Batch) -> Credit:
        """1 on every action of a right completion, averaged over those actions. Raises ValueError without `batch.correct`."""
        if batch.correct is None:
            raise ValueError("sft_on_correct needs Batch.correct; it is None")
        right = (batch.correct > 0.5) & ~ops.path_return(batch.reward, batch.mask).isnan()
        advantage = ops.per_action(right.to(batch.old_logp), batch.mask)
        return Credit(advantage, ops.token_mean(advantage > 0, batch.old_logp.dtype))

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return ops.masked(now.logp, batch.mask) * credit.advantage
