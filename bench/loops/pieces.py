"""How the rows of an optimizer step are cut into passes that fit in memory. Weights are fixed before, so the cut changes no result."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.config import TrainSettings
from bench.policy import by_tokens
from bench.ranks import Ranks


def pieces(lengths: Sequence[int], settings: TrainSettings, rows: int = 1) -> list[Tensor]:
    """The numbers of what goes forward and backward together, of things that are `rows` rows of such lengths each.

    Bounded by tokens: the longest first, so that what does not fit is known at once. Otherwise by rows, in their order.
    """
    if settings.microbatch_tokens:
        order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
        return [torch.tensor(part) for part in by_tokens(order, lengths, settings.microbatch_tokens // rows)]
    size = max(1, settings.microbatch // rows) if settings.microbatch else len(lengths)
    return list(torch.arange(len(lengths)).split(max(1, size)))


def turns(lengths: Sequence[int], settings: TrainSettings, ranks: Ranks, rows: int = 1) -> list[tuple[Tensor, bool]]:
    """This process's share of the pieces, and whether each is to count.

    Every process makes as many passes as any other, for their exchanges are in step; one that has no more rows takes the shortest again, to
    no effect. Pieces are cut until there is one for everybody in each turn, and those of one turn are of about one size.
    """
    parts = pieces(lengths, settings, rows)
    if ranks.size == 1:
        return [(part, True) for part in parts]
    whole = -(-len(parts) // ranks.size) * ranks.size
    while len(parts) < whole and any(len(part) > 1 for part in parts):
        largest = max((i for i, part in enumerate(parts) if len(part) > 1), key=lambda i: _padded(parts[i], lengths))
        parts[largest : largest + 1] = parts[largest].tensor_split(2)
    parts.sort(key=lambda part: _padded(part, lengths), reverse=True)
    idle = torch.tensor([min(range(len(lengths)), key=lengths.__getitem__)])
    own = [(part, True) for part in parts[ranks.rank :: ranks.size]]
    return own + [(idle, False)] * (-(-len(parts) // ranks.size) - len(own))


def _padded(part: Tensor, lengths: Sequence[int]) -> int:
    return len(part) * max(lengths[int(i)] for i in part)
