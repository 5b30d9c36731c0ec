"""One token at a time for many rows at once, with a cache of keys and values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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


def decoder(policy: Policy) -> Decoder:
    """The fastest decoder for this policy."""
    return CachedDecoder(policy)
