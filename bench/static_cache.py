"""Keys and values in tensors that never move, and the attention of one token per row over them.

Axis letters: R rows, K key heads, G query heads per key head, d head size, S slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.decoding import HIDDEN

ATTENTION = "bench_grouped"


@dataclass
class Room:
    """What a step reads and writes, always in the same place."""

    keys: list[Tensor]  # of each layer, (R, K, S, d)
    values: list[Tensor]
    mask: Tensor  # (R, 1, 1, S) added to scores: 0, or HIDDEN where there is nothing to see
    token: Tensor = field(init=False)  # (R, 1)
    position: Tensor = field(init=False)  # (R, 1) of the token among those of its row
    place: Tensor = field(init=False)  # (1,) slot that the step writes, the same for all rows

    def __post_init__(self) -> None:
        device = self.mask.device
        self.token, self.position = (torch.zeros(self.rows, 1, dtype=torch.long, device=device) for _ in range(2))
        self.place = torch.zeros(1, dtype=torch.long, device=device)

    @classmethod
    def like(cls, cache: Any, rows: int, slots: int, dtype: torch.dtype | None) -> Room:
        """Room for caches such as this one: in the type that products are computed in."""

        def empty(part: Tensor) -> Tensor:
            return torch.empty(rows, part.shape[1], slots, part.shape[3], dtype=dtype or part.dtype, device=part.device)

        keys, values = ([empty(part) for part in parts] for parts in zip(*((x.keys, x.values) for x in cache.layers), strict=True))
        return cls(keys, values, keys[0].new_empty(rows, 1, 1, slots))

    @property
    def rows(self) -> int:
        return self.mask.shape[0]

    @property
    def slots(self) -> int:
        return self.mask.shape[-1]

    @property
    def bytes(self) -> int:
        return sum(part.nbytes for part in (*self.keys, *self.values))

    def clear(self) -> None:
        """Zeros: a slot nobody may see still takes part, with weight 0, and must be finite."""
        for part in (*self.keys, *self.values, self.token, self.position):
            part.zero_()
        self.mask.fill_(HIDDEN)


@dataclass(frozen=True)
class Window:
    """The first rows and slots of a room, as the cache of one transformers forward."""

    room: Room
    rows: int
    length: int

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Writes a token's keys and values, (R, K, 1, d), and gives all of them."""
        own = self.room.keys[layer][: self.rows], self.room.values[layer][: self.rows]
        for to, part in zip(own, (key, value), strict=True):
            to.index_copy_(2, self.room.place, part.to(to.dtype))
        return own[0][:, :, : self.length], own[1][:, :, : self.length]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Asked for by some models, which then do nothing with it, as positions and mask are given."""
        return self.length - 1


def grouped(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None = None, **_: Any) -> Any:
    """(R, 1, K G, d) attention of one token per row, whose query heads stand as G queries of their key head: no key is copied for each."""
    rows, heads, _one, size = query.shape
    queries = query.reshape(rows, key.shape[1], heads // key.shape[1], size).to(key.dtype)
    found = F.scaled_dot_product_attention(queries, key, value, attn_mask=mask, scale=scaling)
    return found.reshape(rows, 1, heads, value.shape[-1]), None


@contextmanager
def grouped_attention(model: Any) -> Iterator[None]:
    """Inside, a transformers model attends by `grouped`."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, grouped)
    own = model.config._attn_implementation
    model.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        model.config._attn_implementation = own
