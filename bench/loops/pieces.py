"""How the rows of an optimizer step are cut into passes that fit in memory. Weights are fixed before, so the cut changes no result."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.config import TrainSettings
from bench.policy import by_tokens


def pieces(lengths: Sequence[int], settings: TrainSettings, rows: int = 1) -> list[Tensor]:
    """The numbers of what goes forward and backward together, of things that are `rows` rows of such lengths each.

    Bounded by tokens: the longest first, so that what does not fit is known at once. Otherwise by rows, in their order.
    """
    if settings.microbatch_tokens:
        order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
        return [torch.tensor(part) for part in by_tokens(order, lengths, settings.microbatch_tokens // rows)]
    size = max(1, settings.microbatch // rows) if settings.microbatch else len(lengths)
    return list(torch.arange(len(lengths)).split(max(1, size)))
