"""What is random in a loop: each use has a generator of its own, seeded by name, so that none disturbs another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from bench.config import TrainSettings


def minibatches(rows: int, settings: TrainSettings, once: bool, seed: str) -> Iterator[Tensor]:
    """Row numbers of each optimizer step: every pass shuffles the rows anew; `once` is one step over all of them."""
    steps, passes = (1, 1) if once else (min(settings.minibatches, rows), settings.epochs)
    for epoch in range(passes):
        chance = torch.Generator().manual_seed(number(f"minibatches:{seed}:{epoch}"))
        yield from torch.randperm(rows, generator=chance).tensor_split(steps)


def uniform(count: int, seed: str) -> Tensor:
    """(count,) uniform numbers in [0, 1)."""
    return torch.rand(count, generator=torch.Generator().manual_seed(number(seed)))


def number(seed: str) -> int:
    """A 63-bit seed from its name."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") >> 1


def stacked(kind: Literal["normal", "uniform"], seeds: Sequence[object], shape: tuple[int, ...], name: str) -> Tensor:
    """(S, *shape) standard normal numbers, or uniform ones in [0, 1); each seed's from a generator of its own."""
    draw = torch.randn if kind == "normal" else torch.rand
    return torch.stack([draw(shape, generator=torch.Generator().manual_seed(number(f"{name}:{seed}"))) for seed in seeds])


class Blocks:
    """An endless sequence of (S, *shape) random tensors by index, made a block at a time; any index may be asked for, so none is state."""

    def __init__(self, kind: Literal["normal", "uniform"], seeds: Sequence[object], shape: tuple[int, ...], name: str, length: int) -> None:
        self.kind, self.seeds, self.shape, self.name, self.length = kind, seeds, shape, name, length
        self._block, self._held = -1, torch.empty(0)

    def at(self, index: int) -> Tensor:
        """(S, *shape) the numbers of this index."""
        block, place = divmod(index, self.length)
        if block != self._block:
            self._block, self._held = block, stacked(self.kind, self.seeds, (self.length, *self.shape), f"{self.name}:{block}")
        return self._held[:, place]
