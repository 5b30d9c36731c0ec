"""Log-probabilities by chunks: the numbers and gradients of the plain form, in a fraction of its memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench import token_logp as subject
from bench.token_logp import token_logp

N, D, V = 37, 8, 50


def inputs(bias: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    draw = torch.Generator().manual_seed(0)
    of = [torch.randn(shape, generator=draw) for shape in ((N, D), (V, D), (V,))]
    return of[0], of[1], of[2] if bias else None, torch.randint(V, (N,), generator=draw)


def plainly(states: Tensor, weight: Tensor, bias: Tensor | None, chosen: Tensor, scale: float, cap: float) -> tuple[Tensor, Tensor]:
    """In double precision, by the definition."""
    logits = scale * (states.double() @ weight.double().T + (0 if bias is None else bias.double()))
    share = (cap * torch.tanh(logits / cap) if cap else logits).softmax(-1)
    return share[torch.arange(N), chosen].log(), -(share * share.log()).sum(-1)


@pytest.mark.parametrize("chunk", [1, 5 * V, 10**9])  # one token at a time, several pieces with a rest, in one piece
@pytest.mark.parametrize(("scale", "cap"), [(1.0, 0.0), (0.25, 0.0), (1.0, 3.0), (0.5, 2.0)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("entropy_gradient", [True, False])
def test_numbers_and_gradients_are_those_of_the_definition(
    chunk: int, scale: float, cap: float, bias: bool, entropy_gradient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "CHUNK", chunk)
    found = []
    for double in (False, True):
        states, weight, offset, chosen = inputs(bias)
        moved = [x.requires_grad_() for x in (states, weight, offset) if x is not None]
        if double:
            logp, entropy = plainly(states, weight, offset, chosen, scale, cap)
        else:
            logp, entropy = token_logp(states, weight, offset, chosen, entropy_gradient=entropy_gradient, scale=scale, cap=cap)
            assert entropy.requires_grad == entropy_gradient
        draw = torch.Generator().manual_seed(1)
        loss = (logp * torch.randn(N, generator=draw)).sum() + entropy_gradient * (entropy * torch.randn(N, generator=draw)).sum()
        found.append([logp, entropy, *torch.autograd.grad(loss, moved)])
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours.detach(), exact.detach().float(), atol=3e-5, rtol=1e-5)


@pytest.mark.parametrize("chunk", [5 * V, 10**9])
def test_products_are_bfloat16_and_the_rest_is_float32(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "CHUNK", chunk)
    states, weight, _, chosen = inputs(False)
    weight.requires_grad_()
    narrow = states.bfloat16().requires_grad_()
    logp, entropy = token_logp(narrow, weight, None, chosen)
    assert logp.dtype == entropy.dtype == torch.float32
    own = (narrow.detach() @ weight.detach().bfloat16().T).float().log_softmax(-1)
    torch.testing.assert_close(logp.detach(), own[torch.arange(N), chosen], atol=1e-5, rtol=0)
    logp.sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32
    exact = torch.autograd.grad(plainly(states, again := inputs(False)[1].requires_grad_(), None, chosen, 1, 0)[0].sum(), again)[0]
    assert float((weight.grad - exact).norm() / exact.norm()) < 0.02


def test_what_needs_no_gradient_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen weights, as under adapters: the gradient of the states alone."""
    monkeypatch.setattr(subject, "CHUNK", 5 * V)
    states, weight, bias, chosen = inputs(True)
    logp, _ = token_logp(states.requires_grad_(), weight, bias, chosen)
    (grad,) = torch.autograd.grad(logp.sum(), states)
    exact = torch.autograd.grad(plainly(states, weight, bias, chosen, 1, 0)[0].sum(), states)[0]
    torch.testing.assert_close(grad, exact, atol=3e-5, rtol=1e-5)


def test_no_table_is_ever_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor that forward and backward make is a chunk or a gradient, whatever the number of tokens."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for each in out if isinstance(out, tuple | list) else [out]:
                largest = max(largest, each.numel() if isinstance(each, Tensor) else 0)
            return out

    monkeypatch.setattr(subject, "CHUNK", 4 * V)
    states, weight, _, chosen = inputs(False)
    many = states.repeat(20, 1).requires_grad_()
    with Watch():
        logp, _ = token_logp(many, weight.requires_grad_(), None, chosen.repeat(20))
        logp.sum().backward()
    assert largest <= max(4 * V, many.numel(), weight.numel()) < len(many) * V
