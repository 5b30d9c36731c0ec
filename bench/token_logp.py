"""Log-probability and entropy of tokens over a large vocabulary, without the whole table of logits.

The table of N tokens and V words is made a few tokens at a time, reduced, and made again for the gradients: two products more, and memory
for a chunk where the plain form holds several (N, V) tables in float32. The gradients are exact, not approximations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 1 << 25  # logits at a time: 128 MiB in float32; two more of the size are alive beside them


def token_logp(
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    chosen: Tensor,
    *,
    entropy_gradient: bool = False,
    scale: float = 1.0,
    cap: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """(N,) log-probabilities of the chosen tokens and (N,) entropies of their distributions in float32, of (N, D) states.

    The distribution is softmax over (V,) logits z = scale * (weight @ state + bias), `weight` (V, D), bent to cap * tanh(z / cap) where a
    cap is given. The product is taken in the states' type, all else in float32. Gradients flow to states, weight and bias through the
    log-probabilities, and through the entropy where asked.
    """
    weight, bias = weight.to(states.dtype), None if bias is None else bias.to(states.dtype)
    if states.shape[0] * weight.shape[0] <= CHUNK:
        return plainly(logits_of(states, weight, bias, scale, cap), chosen, entropy_gradient)
    apply: Callable[..., tuple[Tensor, Tensor]] = _Chunked.apply
    return apply(states, weight, bias, chosen, entropy_gradient, scale, cap)


def plainly(logits: Tensor, chosen: Tensor, entropy_gradient: bool) -> tuple[Tensor, Tensor]:
    """(n,) log-probabilities of the chosen tokens and (n,) entropies from (n, V) logits, all at once."""
    table = F.log_softmax(logits, dim=-1)
    source = table if entropy_gradient else table.detach()
    return table.gather(-1, chosen.unsqueeze(-1)).squeeze(-1), -(source.exp() * source).sum(-1)


def logits_of(states: Tensor, weight: Tensor, bias: Tensor | None, scale: float, cap: float) -> Tensor:
    """(n, V) in float32."""
    logits = F.linear(states, weight, bias).float()
    logits = logits if scale == 1 else logits * scale
    return cap * torch.tanh(logits / cap) if cap else logits


class _Chunked(torch.autograd.Function):
    """`plainly` of `logits_of`, by chunks of tokens."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, chosen: Tensor, entropy_gradient: bool, scale: float, cap: float
    ) -> tuple[Tensor, Tensor]:
        logp, entropy, total = (states.new_empty(len(states), dtype=torch.float32) for _ in range(3))
        for part in _parts(states, weight):
            logits = logits_of(states[part], weight, bias, scale, cap)
            total[part] = logits.logsumexp(-1)
            logp[part] = logits.gather(-1, chosen[part].unsqueeze(-1)).squeeze(-1) - total[part]
            share = (logits - total[part].unsqueeze(-1)).exp_()
            entropy[part] = total[part] - share.mul_(logits).sum(-1)
        ctx.save_for_backward(states, weight, bias, chosen, entropy, total)
        ctx.entropy_gradient, ctx.form = entropy_gradient, (scale, cap)
        if not entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_logp: Tensor, of_entropy: Tensor) -> tuple[Tensor | None, ...]:
        """With p = softmax(z): d logp / dz = onehot - p, and d entropy / dz = -p (log p + entropy)."""
        states, weight, bias, chosen, entropy, total = ctx.saved_tensors
        scale, cap = ctx.form
        for_states = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and ctx.needs_input_grad[2] else None
        for part in _parts(states, weight):
            logits = logits_of(states[part], weight, bias, scale, cap)
            slope = (1 - (logits / cap).square_()).mul_(scale) if cap else None
            logits -= total[part].unsqueeze(-1)  # log p
            share = logits.exp()
            if ctx.entropy_gradient:
                grad = logits.add_(entropy[part].unsqueeze(-1)).mul_(-of_entropy[part].unsqueeze(-1)).sub_(of_logp[part].unsqueeze(-1))
                grad.mul_(share)
            else:
                grad = share.mul_(-of_logp[part].unsqueeze(-1))
            grad.scatter_add_(-1, chosen[part].unsqueeze(-1), of_logp[part].unsqueeze(-1))
            grad = grad.mul_(slope) if slope is not None else grad.mul_(scale) if scale != 1 else grad
            if for_bias is not None:
                for_bias += grad.sum(0)
            narrow = grad.to(states.dtype)
            if for_states is not None:
                torch.mm(narrow, weight, out=for_states[part])
            if for_weight is not None:
                _add(for_weight, narrow, states[part])
        as_given = None if for_weight is None else for_weight.to(weight.dtype)
        return for_states, as_given, None if for_bias is None else for_bias.to(bias.dtype), None, None, None, None


def _add(total: Tensor, grad: Tensor, states: Tensor) -> None:
    """Adds grad^T @ states, (V, D), without a second table of that size where the types allow it."""
    if states.dtype == total.dtype:
        total.addmm_(grad.T, states)
    else:
        total += grad.T @ states


def _parts(states: Tensor, weight: Tensor) -> list[slice]:
    size = max(1, CHUNK // weight.shape[0])
    return [slice(first, first + size) for first in range(0, len(states), size)]
