"""One token at a time for many rows at once, with a cache of keys and values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.dense import Dense, Layer, by_head, by_position, fuse, half_turn, inverse_rms, scores, turn
from bench.policy import Policy

HIDDEN = -1e9  # added to the score of what may not be seen; finite, so that a row of padding alone has no NaN


class Decoder(ABC):
    """Rows that grow by a token per step. R is the number of rows still growing, V the vocabulary."""

    @abstractmethod
    def start(self, prompts: Sequence[Sequence[int]], n: int, limit: int) -> Tensor:
        """(P * n, V) logits of the first token; the n rows of a prompt are neighbours and share its computation."""

    @abstractmethod
    def step(self, tokens: Tensor) -> Tensor:
        """(R, V) logits of the next token after appending `tokens`, (R,), to the rows."""

    @abstractmethod
    def keep(self, rows: Tensor) -> None:
        """Go on with the rows of these numbers only, in this order."""

    def worth_keeping(self, rows: int) -> bool:
        """Whether a step of so many rows would be cheaper than one of those at hand."""
        return True

    def release(self) -> None:
        """Give back what the next `start` can make again, where it is much."""
        return None


def arithmetic(policy: Policy) -> torch.dtype | None:
    """What the policy computes products in, where that is not the type of its weights."""
    device = policy.device.type
    with policy.autocast():
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


@dataclass(frozen=True)
class Prompts:
    """P prompts, read by a transformers model; their tokens are padded on the left, as its `generate` does."""

    cache: Any  # its keys and values
    seen: Tensor  # (P, length) 1 where a prompt has a token, 0 in its padding
    lengths: Tensor  # (P,)
    logits: Tensor  # (P, V) of the token after


def read_prompts(policy: Policy, prompts: Sequence[Sequence[int]]) -> Prompts:
    """What the model makes of these prompts."""
    device, longest = policy.device, max(map(len, prompts))
    tokens = torch.tensor([[*[policy.pad] * (longest - len(p)), *p] for p in prompts], device=device)
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    seen = (torch.arange(longest, device=device) >= (longest - lengths).unsqueeze(-1)).long()
    positions = (seen.cumsum(-1) - 1).clamp_min(0)
    with policy.autocast():
        out = policy.model(input_ids=tokens, attention_mask=seen, position_ids=positions, use_cache=True, logits_to_keep=1)
    return Prompts(out.past_key_values, seen, lengths, out.logits[:, -1])


class CachedDecoder(Decoder):
    """Any transformers causal language model, through its own cache."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.cache: Any = None
        self.seen = torch.empty(0)  # (R, length so far) 1 where a row has a token, 0 in its padding
        self.position = torch.empty(0)  # (R,) of the last token

    def start(self, prompts: Sequence[Sequence[int]], n: int, limit: int) -> Tensor:
        read = read_prompts(self.policy, prompts)
        self.cache = read.cache
        self.cache.batch_repeat_interleave(n)
        self.seen, self.position = read.seen.repeat_interleave(n, 0), (read.lengths - 1).repeat_interleave(n, 0)
        return read.logits.repeat_interleave(n, 0)

    def step(self, tokens: Tensor) -> Tensor:
        self.seen = torch.cat([self.seen, self.seen.new_ones(len(tokens), 1)], dim=-1)
        self.position = self.position + 1
        inputs = {"input_ids": tokens.unsqueeze(-1), "attention_mask": self.seen, "position_ids": self.position.unsqueeze(-1)}
        with self.policy.autocast():
            logits: Tensor = self.policy.model(**inputs, past_key_values=self.cache, use_cache=True).logits[:, -1]
        return logits

    def keep(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.seen, self.position = self.seen[rows], self.position[rows]


class DenseDecoder(Decoder):
    """The families of `bench.dense`, with fused weights and room set aside for the cache.

    Prompts are padded on the left and a token's place in the cache is its position: rotary attention sees differences only.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def start(self, prompts: Sequence[Sequence[int]], n: int, limit: int) -> Tensor:
        longest = max(map(len, prompts))
        self.used = longest  # slots of the cache that are written
        self.weights = fuse(self.policy.model, longest + limit)
        self.turn = [_tables(self.weights, layer) for layer in self.weights.layers]
        self.cache: list[tuple[Tensor, Tensor]] = []  # keys and values of each layer, (R, K, slots, d)
        tokens = torch.tensor([[*[self.policy.pad] * (longest - len(prompt)), *prompt] for prompt in prompts])
        padding = torch.arange(longest) < longest - torch.tensor([[len(prompt)] for prompt in prompts])
        bias = torch.zeros(padding.shape).masked_fill_(padding, HIDDEN)  # (P, L)
        self.bias = bias.repeat_interleave(n, 0)[:, None, :] if padding.any() else None  # (R, 1, L)
        x = F.embedding(tokens, self.weights.embed)
        for layer, tables in zip(self.weights.layers, self.turn, strict=True):
            x = self._prompt(x, layer, tables, bias, n)
        return self._logits(x[:, -1]).repeat_interleave(n, 0)

    def _prompt(self, x: Tensor, layer: Layer, tables: Tensor, bias: Tensor, n: int) -> Tensor:
        """(P, L, D) states after a layer, whose keys and values start the cache of every row."""
        prompts, length, _ = x.shape
        turned, value = _project(x, layer, *tables[:, :length])
        query, key, value = (by_head(part) for part in (turned[:, :, : layer.heads], turned[:, :, layer.heads :], value))
        for_rows = [part.new_empty(prompts, n, layer.keys, tables.shape[1], part.shape[-1]) for part in (key, value)]
        for part, own in zip((key, value), for_rows, strict=True):
            own[:, :, :, :length] = part.view(prompts, 1, layer.keys, length, -1)
        self.cache.append((for_rows[0].flatten(0, 1), for_rows[1].flatten(0, 1)))
        weight = scores(query.view(len(key), -1, key.shape[-1]), key, torch.full((length, length), HIDDEN).triu_(1))
        weight.view(prompts, -1, length).add_(bias.unsqueeze(1))
        mixed = by_position((weight.softmax(-1) @ value).view_as(query), layer.heads).view(prompts, length, -1)
        return _feed(x + F.linear(mixed, layer.out, layer.out_bias), layer)

    def step(self, tokens: Tensor) -> Tensor:
        x = F.embedding(tokens, self.weights.embed)
        for layer, tables, cache in zip(self.weights.layers, self.turn, self.cache, strict=True):
            x = self._next(x, layer, tables, cache)
        self.used += 1
        return self._logits(x)

    def _next(self, x: Tensor, layer: Layer, tables: Tensor, cache: tuple[Tensor, Tensor]) -> Tensor:
        """(R, D) states after a layer, whose keys and values join the cache."""
        turned, value = _project(x, layer, *tables[:, self.used])
        for part, own in zip((turned[:, layer.heads :], value), cache, strict=True):
            own[:, :, self.used] = part
        query = turned[:, : layer.heads].reshape(len(x) * layer.keys, -1, value.shape[-1])
        keys, values = (part.flatten(0, 1)[:, : self.used + 1] for part in cache)
        weight = torch.bmm(query, keys.transpose(1, 2))  # two products: at one query, faster than the attention kernel
        if self.bias is not None:
            weight.view(len(x), -1, self.used + 1)[:, :, : self.bias.shape[-1]].add_(self.bias)
        mixed = torch.bmm(weight.softmax(-1), values)
        return _feed(x + F.linear(mixed.view(len(x), -1), layer.out, layer.out_bias), layer)

    def keep(self, rows: Tensor) -> None:
        self.bias = None if self.bias is None else self.bias[rows]
        self.cache = [(self._kept(keys, rows), self._kept(values, rows)) for keys, values in self.cache]

    def _kept(self, part: Tensor, rows: Tensor) -> Tensor:
        own = part.new_empty(len(rows), *part.shape[1:])
        own[:, :, : self.used] = part[rows, :, : self.used]
        return own

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(x * inverse_rms(x, self.weights.eps), self.weights.head, self.weights.head_bias)


def _tables(weights: Dense, layer: Layer) -> Tensor:
    """(2, slots, H + K, d) cosines and sines of queries and keys, their scales folded in."""
    scale = torch.cat([layer.query_scale.expand(layer.heads, -1), layer.key_scale.expand(layer.keys, -1)])
    return torch.stack([weights.cos.unsqueeze(1) * scale, weights.sin.unsqueeze(1) * half_turn(scale)])


def _project(x: Tensor, layer: Layer, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Turned queries and keys (..., H + K, d) and values (..., K, d) of (..., D) states."""
    every = F.linear(x * inverse_rms(x, layer.eps), layer.qkv, layer.qkv_bias).unflatten(-1, (layer.heads + 2 * layer.keys, -1))
    turning, value = every[..., : -layer.keys, :], every[..., -layer.keys :, :]
    if layer.head_norm:
        turning = turning * inverse_rms(turning, layer.eps)
    return turn(turning, cos, sin), value


def _feed(x: Tensor, layer: Layer) -> Tensor:
    """(..., D) states plus their gated feed-forward; overwrites `x`."""
    gate, up = F.linear(x * inverse_rms(x, layer.eps), layer.gate_up).chunk(2, -1)
    return x.add_(F.linear(F.silu(gate).mul_(up), layer.down))
