"""The dense Llama, Qwen2 and Qwen3 architectures on a CPU, in few and large operations, with their gradients written out.

A small model spends most of a transformers forward on many short elementwise passes. Here the weights of a norm are folded into the
projection that follows, query, key and value are one product, gate and up another, and each half of a layer is one autograd node.
Axis letters: B rows, L positions, N = B * L, D hidden size, H query heads, K key heads, d head size, M inner size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FAMILIES = ("llama", "qwen2", "qwen3")
MOST_PARAMETERS = 50_000_000  # beyond, the products take nearly all the time and a second copy of the weights is dear


def supported(model: Any) -> bool:
    """Whether this file computes exactly what the model does: a plain float32 member of the families on a CPU."""
    config = model.config
    if config.model_type not in FAMILIES or config.hidden_act != "silu":
        return False
    if config.rope_parameters.get("rope_type") != "default" or any(kind != "full_attention" for kind in getattr(config, "layer_types", ())):
        return False
    if sum(p.numel() for p in model.parameters()) > MOST_PARAMETERS:
        return False
    plain = all(type(module) is nn.Linear for module in model.modules() if isinstance(module, nn.Linear))
    inner = any(layer.mlp.gate_proj.bias is not None for layer in model.model.layers)
    return plain and not inner and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())


@dataclass(frozen=True)
class Layer:
    """One layer's weights in the form they are used in, and how the heads lie."""

    qkv: Tensor  # ((H + 2K) d, D) queries, keys, values, with the weight of the norm before them
    qkv_bias: Tensor | None
    query_scale: Tensor  # (d,) the weight of the queries' own norm times 1 / sqrt(d)
    key_scale: Tensor  # (d,) the weight of the keys' own norm
    out: Tensor  # (D, H d)
    out_bias: Tensor | None
    gate_up: Tensor  # (2M, D) with the weight of the norm before it
    down: Tensor  # (D, M)
    heads: int  # H
    keys: int  # K
    eps: float
    head_norm: bool  # whether queries and keys are normalised per head


@dataclass(frozen=True)
class Dense:
    """A model's weights, fused."""

    embed: Tensor  # (V, D)
    layers: tuple[Layer, ...]
    cos: Tensor  # (L, d) of the rotary embedding
    sin: Tensor  # (L, d) with the sign that the half-turned vector takes
    norm: Tensor  # (D,) the weight of the last norm
    head: Tensor  # (V, D) with that weight
    head_bias: Tensor | None
    eps: float


def fuse(model: Any, length: int) -> Dense:
    """The weights of a supported model, with gradients to its parameters, for sequences of at most `length` tokens."""
    body = model.model
    angle = torch.arange(length).unsqueeze(-1) * body.rotary_emb.inv_freq  # (L, d / 2)
    cos, sin = torch.cat([angle.cos(), angle.cos()], -1), torch.cat([-angle.sin(), angle.sin()], -1)
    head = model.lm_head.weight * body.norm.weight
    layers = tuple(_layer(layer, model.config) for layer in body.layers)
    return Dense(body.embed_tokens.weight, layers, cos, sin, body.norm.weight, head, model.lm_head.bias, body.norm.variance_epsilon)


def _layer(layer: Any, config: Any) -> Layer:
    own, mlp = layer.self_attn, layer.mlp
    linears = (own.q_proj, own.k_proj, own.v_proj)
    head_norm = hasattr(own, "q_norm")
    query_scale, key_scale = (own.q_norm.weight, own.k_norm.weight) if head_norm else (torch.ones(own.head_dim), torch.ones(own.head_dim))
    return Layer(
        qkv=torch.cat([linear.weight for linear in linears]) * layer.input_layernorm.weight,
        qkv_bias=None if own.q_proj.bias is None else torch.cat([linear.bias for linear in linears]),
        query_scale=query_scale * own.head_dim**-0.5,
        key_scale=key_scale,
        out=own.o_proj.weight,
        out_bias=own.o_proj.bias,
        gate_up=torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * layer.post_attention_layernorm.weight,
        down=mlp.down_proj.weight,
        heads=config.num_attention_heads,
        keys=config.num_key_value_heads,
        eps=layer.input_layernorm.variance_epsilon,
        head_norm=head_norm,
    )


def half_turn(x: Tensor) -> Tensor:
    """x with the halves of its last axis exchanged; rotary embedding needs it, the signs are in `Dense.sin`."""
    return x.roll(x.shape[-1] // 2, -1)


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """(..., 1) 1 / sqrt(mean square + eps) over the last axis."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _norm_backward(grad: Tensor, normed: Tensor, inverse: Tensor) -> Tensor:
    """Gradient of x from that of normed = x * inverse; overwrites `grad`."""
    along = torch.linalg.vecdot(grad, normed).unsqueeze(-1)
    return grad.addcmul_(normed, along, value=-1 / normed.shape[-1]).mul_(inverse)


def hidden(dense: Dense, tokens: Tensor, places: Tensor) -> Tensor:
    """(n, D) normalised states, ready for `dense.head`, at n places of the flattened (B, L) token ids, whose rows are right-padded."""
    length = tokens.shape[1]
    causal = torch.full((length, length), -torch.inf).triu_(1)
    cos, sin = dense.cos[:length], dense.sin[:length]
    x = F.embedding(tokens.flatten(), dense.embed)
    for layer in dense.layers:
        weights = layer.qkv, layer.qkv_bias, layer.query_scale, layer.key_scale, layer.out, layer.out_bias
        x = _Attention.apply(x, layer, cos, sin, causal, *weights)  # type: ignore[no-untyped-call]
        if layer is dense.layers[-1]:
            x = x.index_select(0, places)  # nothing after this looks at another place
        x = _MLP.apply(x, layer.gate_up, layer.down, layer.eps)  # type: ignore[no-untyped-call]
    normed: Tensor = _Norm.apply(x, dense.eps)  # type: ignore[no-untyped-call]
    return normed


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of (..., d) with tables that broadcast to it."""
    return torch.addcmul(x * cos, half_turn(x), sin)


def _turn_backward(grad: Tensor, normed: Tensor, inverse: Tensor | None, scale: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x and of scale in turn(normed * scale) with normed = x * inverse, or x where there is no norm; (b, L, d)."""
    back = torch.addcmul(grad * cos, half_turn(grad), sin, value=-1)
    along = back * normed
    d_scale = along.flatten(0, -2).sum(0)
    if inverse is None:
        return back.mul_(scale), d_scale
    share = (along @ scale).unsqueeze(-1)
    return back.mul_(scale).addcmul_(normed, share, value=-1 / len(scale)).mul_(inverse), d_scale


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        inverse = inverse_rms(x, eps)
        normed = x * inverse
        ctx.save_for_backward(normed, inverse)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _norm_backward(grad.clone(), *ctx.saved_tensors), None


class _MLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate_up: Tensor, down: Tensor, eps: float) -> Tensor:
        inverse = inverse_rms(x, eps)
        normed = x * inverse
        both = normed @ gate_up.T
        gate, up = both.chunk(2, -1)
        ctx.save_for_backward(gate_up, down, inverse, normed, both)
        return torch.addmm(x, F.silu(gate).mul_(up), down.T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate_up, down, inverse, normed, both = ctx.saved_tensors
        gate, up = both.chunk(2, -1)
        d_inner = grad @ down
        silu = F.silu(gate)
        d_both = torch.empty_like(both)
        d_gate, d_up = d_both.chunk(2, -1)
        torch.mul(d_inner, silu, out=d_up)
        d_down = grad.T @ silu.mul_(up)
        torch.ops.aten.silu_backward.grad_input(d_inner.mul_(up), gate, grad_input=d_gate)
        d_gate_up = d_both.T @ normed
        return _norm_backward(d_both @ gate_up, normed, inverse).add_(grad), d_gate_up, d_down, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, cos: Tensor, sin: Tensor, causal: Tensor, *weights: Any) -> Tensor:
        """`weights` are those of `layer`, in its order; given one by one, because autograd sees only what is."""
        qkv, qkv_bias, query_scale, key_scale, out, out_bias = weights
        inverse = inverse_rms(x, layer.eps)
        normed = x * inverse
        every = F.linear(normed, qkv, qkv_bias).view(-1, len(cos), layer.heads + 2 * layer.keys, cos.shape[-1])
        query, key, value = (by_head(part) for part in every.split((layer.heads, layer.keys, layer.keys), 2))
        query, query_inverse = _head_norm(query, layer)
        key, key_inverse = _head_norm(key, layer)
        turned_query = turn(query, cos * query_scale, sin * half_turn(query_scale)).view(len(key), -1, key.shape[-1])
        turned_key = turn(key, cos * key_scale, sin * half_turn(key_scale))
        share = scores(turned_query, turned_key, causal).softmax(-1)  # (B K, (H / K) L, L)
        mixed = by_position((share @ value).view_as(query), layer.heads)
        ctx.layer = layer
        own = qkv, query_scale, key_scale, out, cos, sin, inverse, normed
        ctx.save_for_backward(*own, query, query_inverse, turned_query, key, key_inverse, turned_key, value, share, mixed)
        return F.linear(mixed, out, out_bias).add_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layer, (qkv, query_scale, key_scale, out, cos, sin, inverse, normed) = ctx.layer, ctx.saved_tensors[:8]
        query, query_inverse, turned_query, key, key_inverse, turned_key, value, share, mixed = ctx.saved_tensors[8:]
        d_every = torch.empty(len(grad), len(qkv)).view(-1, len(cos), layer.heads + 2 * layer.keys, cos.shape[-1])
        d_mixed = by_head((grad @ out).view(-1, len(cos), layer.heads, cos.shape[-1])).view_as(turned_query)
        d_scores = torch._softmax_backward_data(d_mixed @ value.transpose(1, 2), share, -1, share.dtype)
        d_query, d_query_scale = _turn_backward((d_scores @ turned_key).view_as(query), query, query_inverse, query_scale, cos, sin)
        d_key, d_key_scale = _turn_backward(d_scores.transpose(1, 2) @ turned_query, key, key_inverse, key_scale, cos, sin)
        d_value = share.transpose(1, 2) @ d_mixed
        for part, own in zip(d_every.split((layer.heads, layer.keys, layer.keys), 2), (d_query, d_key, d_value), strict=True):
            part.copy_(own.view(len(part), -1, *own.shape[1:]).transpose(1, 2))
        d_flat = d_every.view(len(grad), -1)
        d_x = _norm_backward(d_flat @ qkv, normed, inverse).add_(grad)
        d_bias = d_flat.sum(0) if ctx.needs_input_grad[6] else None
        d_out_bias = grad.sum(0) if ctx.needs_input_grad[10] else None
        return d_x, None, None, None, None, d_flat.T @ normed, d_bias, d_query_scale, d_key_scale, grad.T @ mixed, d_out_bias


def _head_norm(x: Tensor, layer: Layer) -> tuple[Tensor, Tensor | None]:
    """(b, L, d) normalised where the layer has a norm per head, and what it was multiplied by."""
    if not layer.head_norm:
        return x, None
    inverse = inverse_rms(x, layer.eps)
    return x * inverse, inverse


def by_head(x: Tensor) -> Tensor:
    """(B H, L, d) from (B, L, H, d): the query heads of one key head lie one after the other."""
    return x.transpose(1, 2).contiguous().view(-1, x.shape[1], x.shape[3])


def by_position(x: Tensor, heads: int) -> Tensor:
    """(B L, H d) from (B H, L, d)."""
    _, length, size = x.shape
    return x.view(-1, heads, length, size).transpose(1, 2).reshape(-1, heads * size)


def scores(query: Tensor, key: Tensor, causal: Tensor) -> Tensor:
    """(b, g L, L) products of (b, g L, d) and (b, L, d), -inf where the key is later than the query."""
    mask = causal.repeat(query.shape[1] // len(causal), 1)
    return torch.baddbmm(mask, query, key.transpose(1, 2))
