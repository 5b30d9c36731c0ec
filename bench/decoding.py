"""One token at a time for many rows at once, with a cache of keys and values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.dense import Layer, by_head, by_position, fuse, inverse_rms, project, scores, supported
from bench.policy import Policy


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


class CachedDecoder(Decoder):
    """Any transformers causal language model, through its own cache. Prompts are padded on the left, as its `generate` does."""

    def __init__(self, policy: Policy) -> None:
        self.model, self.pad, self.device = policy.model, policy.pad, policy.device
        self.cache: Any = None
        self.seen = torch.empty(0)  # (R, length so far) 1 where a row has a token, 0 in its padding
        self.position = torch.empty(0)  # (R,) of the last token

    def start(self, prompts: Sequence[Sequence[int]], n: int, limit: int) -> Tensor:
        longest = max(map(len, prompts))
        tokens = torch.tensor([[*[self.pad] * (longest - len(p)), *p] for p in prompts], device=self.device)
        lengths = torch.tensor([len(p) for p in prompts], device=self.device)
        seen = (torch.arange(longest, device=self.device) >= (longest - lengths).unsqueeze(-1)).long()
        positions = (seen.cumsum(-1) - 1).clamp_min(0)
        out = self.model(input_ids=tokens, attention_mask=seen, position_ids=positions, use_cache=True, logits_to_keep=1)
        self.cache = out.past_key_values
        self.cache.batch_repeat_interleave(n)
        self.seen, self.position = seen.repeat_interleave(n, 0), (lengths - 1).repeat_interleave(n, 0)
        logits: Tensor = out.logits[:, -1]
        return logits.repeat_interleave(n, 0)

    def step(self, tokens: Tensor) -> Tensor:
        self.seen = torch.cat([self.seen, self.seen.new_ones(len(tokens), 1)], dim=-1)
        self.position = self.position + 1
        inputs = {"input_ids": tokens.unsqueeze(-1), "attention_mask": self.seen, "position_ids": self.position.unsqueeze(-1)}
        logits: Tensor = self.model(**inputs, past_key_values=self.cache, use_cache=True).logits[:, -1]
        return logits

    def keep(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.seen, self.position = self.seen[rows], self.position[rows]


class DenseDecoder(Decoder):
    """The families of `bench.dense`, with fused weights, room set aside for the cache, and prompts padded on the right."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def start(self, prompts: Sequence[Sequence[int]], n: int, limit: int) -> Tensor:
        lengths, longest = torch.tensor([len(prompt) for prompt in prompts]), max(map(len, prompts))
        self.weights = fuse(self.policy.model, longest + limit)
        self.used = longest  # slots of the cache that are written, the same for every row
        self.position = lengths.repeat_interleave(n)  # (R,) of the next token
        self.ragged = int(lengths.min()) < longest
        tokens = torch.tensor([[*prompt, *[self.policy.pad] * (longest - len(prompt))] for prompt in prompts])
        self.turn = torch.stack([torch.stack([layer.cos, layer.sin]) for layer in self.weights.layers], 1)  # (2, layers, slots, H + K, d)
        self.cache: list[tuple[Tensor, Tensor]] = []  # keys and values of each layer, (R, K, slots, d)
        x = F.embedding(tokens, self.weights.embed)
        for layer in self.weights.layers:
            x = self._prompt(x, layer, n, longest + limit)
        padding = torch.arange(longest + limit) >= torch.where(
            torch.arange(longest + limit) < longest, lengths.unsqueeze(-1), longest + limit
        )
        self.bias = torch.zeros(padding.shape).masked_fill_(padding, -torch.inf).repeat_interleave(n, 0)  # (R, slots)
        return self._logits(x[torch.arange(len(prompts)), lengths - 1]).repeat_interleave(n, 0)

    def _prompt(self, x: Tensor, layer: Layer, n: int, slots: int) -> Tensor:
        """(P, L, D) states after a layer, whose keys and values start the cache of every row."""
        prompts, length, _ = x.shape
        normed = x * inverse_rms(x, layer.eps)
        turned, value, *_ = project(normed, layer, layer.cos[:length], layer.sin[:length])
        key = turned[:, :, layer.heads :]
        room = [part.new_empty(prompts, n, layer.keys, slots, part.shape[-1]) for part in (key, value)]
        for part, own in zip((key, value), room, strict=True):
            own[:, :, :, :length] = part.transpose(1, 2).unsqueeze(1)
        self.cache.append((room[0].flatten(0, 1), room[1].flatten(0, 1)))
        causal = torch.full((length, length), -torch.inf).triu_(1)
        query, key, value = (by_head(part, layer.keys) for part in (turned[:, :, : layer.heads], key, value))
        mixed = by_position(scores(query, key, causal).softmax(-1) @ value, length, layer.keys)
        return _feed(x + F.linear(mixed.flatten(2), layer.out, layer.out_bias), layer)

    def step(self, tokens: Tensor) -> Tensor:
        if self.ragged:
            cos, sin = self.turn[:, :, self.position]
        else:
            cos, sin = self.turn[:, :, int(self.position[0])].unsqueeze(2)
        x = F.embedding(tokens, self.weights.embed)
        for layer, cache, *turn in zip(self.weights.layers, self.cache, cos, sin, strict=True):
            x = self._next(x, layer, cache, turn[0], turn[1])
        self.used += 1
        self.position += 1
        return self._logits(x)

    def _next(self, x: Tensor, layer: Layer, cache: tuple[Tensor, Tensor], cos: Tensor, sin: Tensor) -> Tensor:
        """(R, D) states after a layer, whose keys and values join the cache."""
        turned, value, *_ = project(x * inverse_rms(x, layer.eps), layer, cos, sin)
        for part, own in zip((turned[:, layer.heads :], value), cache, strict=True):
            own[:, :, self.used] = part
        query = turned[:, : layer.heads].reshape(len(x) * layer.keys, -1, value.shape[-1])
        keys, values = (part.flatten(0, 1)[:, : self.used + 1] for part in cache)
        weight = torch.bmm(query, keys.transpose(1, 2))  # two products: at one query, faster than the attention kernel
        if self.ragged:
            weight.view(len(x), -1, self.used + 1).add_(self.bias[:, None, : self.used + 1])
        mixed = torch.bmm(weight.softmax(-1), values)
        return _feed(x + F.linear(mixed.view(len(x), -1), layer.out, layer.out_bias), layer)

    def keep(self, rows: Tensor) -> None:
        self.position, self.bias = self.position[rows], self.bias[rows]
        self.cache = [(self._kept(keys, rows), self._kept(values, rows)) for keys, values in self.cache]

    def _kept(self, part: Tensor, rows: Tensor) -> Tensor:
        own = part.new_empty(len(rows), *part.shape[1:])
        own[:, :, : self.used] = part[rows, :, : self.used]
        return own

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(x * inverse_rms(x, self.weights.eps), self.weights.head, self.weights.head_bias)


def _feed(x: Tensor, layer: Layer) -> Tensor:
    """(..., D) states plus their gated feed-forward; overwrites `x`."""
    gate, up = F.linear(x * inverse_rms(x, layer.eps), layer.gate_up).chunk(2, -1)
    return x.add_(F.linear(F.silu(gate).mul_(up), layer.down))


def decoder(policy: Policy) -> Decoder:
    """The fastest decoder for this policy."""
    return DenseDecoder(policy) if supported(policy.model) else CachedDecoder(policy)
