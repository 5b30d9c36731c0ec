"""What is random in a loop: each use has a generator of its own, seeded by name, so that none disturbs another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

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
