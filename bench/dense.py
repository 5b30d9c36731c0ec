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

FAMILIES = ("llama", "qwen2", "qwen3")


def supported(model: Any) -> bool:
    """Whether this file computes exactly what the model does: a plain float32 member of the families on a CPU."""
    config = model.config
    if config.model_type not in FAMILIES or config.hidden_act != "silu":
        return False
    if config.rope_parameters.get("rope_type") != "default" or any(kind != "full_attention" for kind in getattr(config, "layer_types", ())):
        return False
    plain = all(type(module) is nn.Linear for module in model.modules() if isinstance(module, nn.Linear))
    inner = any(layer.mlp.gate_proj.bias is not None for layer in model.model.layers)
    return plain and not inner and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())


@dataclass(frozen=True)
class Layer:
    """One layer's weights in the form they are used in, and how the heads lie."""

    qkv: Tensor  # ((H + 2K) d, D) queries, keys, values, with the weight of the norm before them
    qkv_bias: Tensor | None
    cos: Tensor  # (L, H + K, d) rotation of queries and keys, with their norms' weights and the queries' 1 / sqrt(d)
    sin: Tensor  # (L, H + K, d) the same for the half-turned vector
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
    head: Tensor  # (V, D) with the weight of the last norm
    head_bias: Tensor | None
    eps: float


def fuse(model: Any, length: int) -> Dense:
    """The weights of a supported model, with gradients to its parameters, for sequences of at most `length` tokens."""
    body = model.model
    angle = torch.arange(length).unsqueeze(-1) * body.rotary_emb.inv_freq  # (L, d / 2)
    cos, sin = (torch.cat([x, y], -1).unsqueeze(1) for x, y in ((angle.cos(), angle.cos()), (-angle.sin(), angle.sin())))
    layers = tuple(_layer(layer, model.config, cos, sin) for layer in body.layers)
    return Dense(body.embed_tokens.weight, layers, model.lm_head.weight * body.norm.weight, model.lm_head.bias, body.norm.variance_epsilon)


def _layer(layer: Any, config: Any, cos: Tensor, sin: Tensor) -> Layer:
    own, mlp = layer.self_attn, layer.mlp
    heads, keys, size = config.num_attention_heads, config.num_key_value_heads, own.head_dim
    linears = (own.q_proj, own.k_proj, own.v_proj)
    scale = torch.cat([torch.full((heads, 1), size**-0.5), torch.ones(keys, 1)])
    head_norm = hasattr(own, "q_norm")
    if head_norm:
        scale = scale * torch.cat([own.q_norm.weight.expand(heads, -1), own.k_norm.weight.expand(keys, -1)])
    return Layer(
        qkv=torch.cat([linear.weight for linear in linears]) * layer.input_layernorm.weight,
        qkv_bias=None if own.q_proj.bias is None else torch.cat([linear.bias for linear in linears]),
        cos=cos * scale.expand(-1, size),
        sin=sin * half_turn(scale.expand(-1, size)),
        out=own.o_proj.weight,
        out_bias=own.o_proj.bias,
        gate_up=torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * layer.post_attention_layernorm.weight,
        down=mlp.down_proj.weight,
        heads=heads,
        keys=keys,
        eps=layer.input_layernorm.variance_epsilon,
        head_norm=head_norm,
    )


def half_turn(x: Tensor) -> Tensor:
    """x with the halves of its last axis exchanged; rotary embedding needs it, signs are in `Layer.sin`."""
    return x.roll(x.shape[-1] // 2, -1)


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """(..., 1) 1 / sqrt(mean square + eps) over the last axis."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _norm_backward(grad: Tensor, normed: Tensor, inverse: Tensor) -> Tensor:
    """Gradient of x from that of normed = x * inverse; overwrites `grad`."""
    along = torch.linalg.vecdot(grad, normed).unsqueeze(-1)
    return grad.addcmul_(normed, along, value=-1 / normed.shape[-1]).mul_(inverse)


def hidden(dense: Dense, tokens: Tensor) -> Tensor:
    """(B, L, D) normalised states, ready for `dense.head`, of right-padded (B, L) token ids."""
    batch, length = tokens.shape
    causal = torch.full((length, length), -torch.inf).triu_(1)
    x = F.embedding(tokens, dense.embed).view(batch * length, -1)
    for layer in dense.layers:
        x = attention(x, layer, causal)
        x = mlp(x, layer)
    return _Norm.apply(x, dense.eps).view(batch, length, -1)


def project(normed: Tensor, layer: Layer, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Turned queries and keys (..., H + K, d) and values (..., K, d) of (..., D) normalised states; then, for the gradient, queries and
    keys before turning and the inverse norm they were scaled by. `cos` and `sin` broadcast to the turned ones."""
    every = F.linear(normed, layer.qkv, layer.qkv_bias).unflatten(-1, (layer.heads + 2 * layer.keys, -1))
    turning, value = every[..., : -layer.keys, :], every[..., -layer.keys :, :]
    inverse = None
    if layer.head_norm:
        inverse = inverse_rms(turning, layer.eps)
        turning = turning * inverse
    return torch.addcmul(turning * cos, half_turn(turning), sin), value, turning, inverse


def attention(x: Tensor, layer: Layer, causal: Tensor) -> Tensor:
    """(N, D) plus its causal self-attention."""
    cos, sin = layer.cos[: len(causal)], layer.sin[: len(causal)]
    out: Tensor = _Attention.apply(x, layer.qkv, layer.qkv_bias, cos, sin, layer.out, layer.out_bias, layer, causal)
    return out


def mlp(x: Tensor, layer: Layer) -> Tensor:
    """(N, D) plus its gated feed-forward."""
    out: Tensor = _MLP.apply(x, layer.gate_up, layer.down, layer.eps)
    return out


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        inverse = inverse_rms(x, eps)
        normed = x * inverse
        ctx.save_for_backward(normed, inverse)
        return normed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _norm_backward(grad.clone(), *ctx.saved_tensors), None


class _MLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate_up: Tensor, down: Tensor, eps: float) -> Tensor:
        inverse = inverse_rms(x, eps)
        normed = x * inverse
        both = normed @ gate_up.T
        gate, up = both.chunk(2, -1)
        silu = F.silu(gate)
        inner = silu * up
        ctx.save_for_backward(gate_up, down, inverse, normed, both, silu, inner)
        return torch.addmm(x, inner, down.T)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate_up, down, inverse, normed, both, silu, inner = ctx.saved_tensors
        gate, up = both.chunk(2, -1)
        d_down = grad.T @ inner
        d_inner = grad @ down
        d_both = torch.empty_like(both)
        d_gate, d_up = d_both.chunk(2, -1)
        torch.mul(d_inner, silu, out=d_up)
        torch.ops.aten.silu_backward.grad_input(d_inner.mul_(up), gate, grad_input=d_gate)
        d_gate_up = d_both.T @ normed
        return _norm_backward(d_both @ gate_up, normed, inverse).add_(grad), d_gate_up, d_down, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        qkv: Tensor,
        qkv_bias: Tensor | None,
        cos: Tensor,
        sin: Tensor,
        out: Tensor,
        out_bias: Tensor | None,
        layer: Layer,
        causal: Tensor,
    ) -> Tensor:
        length = len(causal)
        inverse = inverse_rms(x, layer.eps)
        normed = x * inverse
        turned, value, turning, head_inverse = project(normed.view(-1, length, normed.shape[-1]), layer, cos, sin)
        query, key = by_head(turned[:, :, : layer.heads], layer.keys), by_head(turned[:, :, layer.heads :], layer.keys)
        value = by_head(value, layer.keys)
        share = scores(query, key, causal).softmax(-1)  # (B K, (H / K) L, L)
        mixed = by_position(share @ value, length, layer.keys).reshape(len(x), -1)
        ctx.layer = layer
        ctx.save_for_backward(qkv, cos, sin, out, inverse, normed, turning, head_inverse, query, key, value, share, mixed)
        return F.linear(mixed, out, out_bias).add_(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        qkv, cos, sin, out, inverse, normed, turning, head_inverse, query, key, value, share, mixed = ctx.saved_tensors
        layer, length = ctx.layer, len(cos)
        d_mixed = by_head((grad @ out).view(-1, length, layer.heads, cos.shape[-1]), layer.keys)
        d_value = share.transpose(1, 2) @ d_mixed
        d_scores = torch._softmax_backward_data(d_mixed @ value.transpose(1, 2), share, -1, share.dtype)
        d_turned = torch.cat([by_position(d, length, layer.keys) for d in (d_scores @ key, d_scores.transpose(1, 2) @ query)], 2)
        d_cos = d_sin = None
        if ctx.needs_input_grad[3]:
            d_cos, d_sin = (d_turned * turning).sum(0), (d_turned * half_turn(turning)).sum(0)
        d_turning = torch.addcmul(half_turn(d_turned * sin), d_turned, cos)
        if head_inverse is not None:
            d_turning = _norm_backward(d_turning, turning, head_inverse)
        d_every = torch.cat([d_turning, by_position(d_value, length, layer.keys)], 2).view(len(grad), -1)
        d_x = _norm_backward(d_every @ qkv, normed, inverse).add_(grad)
        d_bias = d_every.sum(0) if ctx.needs_input_grad[2] else None
        d_out_bias = grad.sum(0) if ctx.needs_input_grad[6] else None
        return d_x, d_every.T @ normed, d_bias, d_cos, d_sin, grad.T @ mixed, d_out_bias, None, None


def by_head(x: Tensor, keys: int) -> Tensor:
    """(B K, (H / K) L, d) from (B, L, H, d): the query heads of one key head lie one after the other."""
    batch, length, heads, size = x.shape
    return x.reshape(batch, length, keys, heads // keys, size).permute(0, 2, 3, 1, 4).reshape(batch * keys, -1, size)


def by_position(x: Tensor, length: int, keys: int) -> Tensor:
    """(B, L, H, d), the inverse of `by_head`."""
    size = x.shape[-1]
    return x.view(len(x) // keys, keys, -1, length, size).permute(0, 3, 1, 2, 4).reshape(len(x) // keys, length, -1, size)


def scores(query: Tensor, key: Tensor, causal: Tensor) -> Tensor:
    """(B K, (H / K) L, L) products, -inf where the key is later than the query."""
    mask = causal.repeat(query.shape[1] // len(causal), 1)
    return torch.baddbmm(mask, query, key.transpose(1, 2))
