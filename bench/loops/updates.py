"""One optimizer step of a policy-gradient rule on text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from algorithms.base import Batch, Credit, PolicyGradient
from bench.policy import Policy


@dataclass(frozen=True)
class Step:
    """What an optimizer step saw before it moved the weights."""

    grad_norm: float  # global norm, before clipping
    logp: Tensor  # (b, T) of the policy that was differentiated, without gradient
    entropy: Tensor  # (b, T)


def update(
    policy: Policy,
    optimizer: Optimizer,
    rule: PolicyGradient,
    batch: Batch,
    credit: Credit,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    grad_clip: float,
    microbatch: int = 0,
) -> Step:
    """Descend -(weight * objective).sum() over the b paths of `batch`; row i is `completions[i]` after `prompts[i]`.

    `microbatch` paths go forward at a time (0: all). The weights are fixed before the split, so the split changes nothing but memory.
    """
    paths, width = batch.mask.shape
    optimizer.zero_grad(set_to_none=True)
    logp, entropy = [], []
    for first in range(0, paths, microbatch or paths):
        part = range(first, min(first + (microbatch or paths), paths))
        index = torch.tensor(part, device=batch.mask.device)
        now = policy.forward(
            [prompts[i] for i in part], [completions[i] for i in part], width=width, entropy_gradient=rule.entropy_bonus > 0
        )
        weight = credit.weight[index]
        share = Credit(credit.advantage[index], weight)
        loss = -(weight * rule.objective(now, batch.rows(index), share)).sum()
        loss.backward()
        assert now.entropy is not None
        logp.append(now.logp.detach())
        entropy.append(now.entropy.detach())
    norm = torch.nn.utils.clip_grad_norm_(list(policy.parameters()), grad_clip)
    optimizer.step()
    return Step(float(norm), torch.cat(logp), torch.cat(entropy))
