"""How much of what a run generates it never learns from.

A step that samples in r rounds of B groups, and keeps the share k of them, trains on min(k r, 1) of a batch: it discards the groups that
the rule turns down and those that are over when the batch is full. What is carried to the next step counts where it is trained on.

A step that says nothing of its sampling trained on all of it; of a policy gradient, which has `adv/pos_frac`, that much is known. Rules on
pairs leave out answers that are in no pair, and value rules replay; of both the share is unknown. On Gymnasium each
record tells of its newest batch alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class CompletionsDiscarded(RunMetric):
    """Share of the completions or episodes generated for training that were never trained on; NaN where that is not known."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("samples", "adv/pos_frac")
    also: ClassVar[tuple[str, ...]] = ("sampling/rounds", "sampling/kept_frac")
    joint: ClassVar[bool] = False

    def measure(self, curve: Curve) -> float:
        training = curve["samples"] > 0
        if not training.any():
            return math.nan
        if "sampling/rounds" not in curve or "sampling/kept_frac" not in curve:
            return 0.0
        rounds, kept = curve["sampling/rounds"][training], curve["sampling/kept_frac"][training]
        silent = numpy.isnan(rounds) | numpy.isnan(kept)
        sampled = numpy.where(silent, 1.0, rounds)
        used = numpy.where(silent, 1.0, numpy.minimum(kept * rounds, 1.0))
        return 1.0 - float(used.sum() / sampled.sum())
