"""How much of what a run writes it never learns from.

As `completions_discarded`, in tokens: the answers that a rule turns down may be shorter or longer than those it keeps, so one does not
follow from the other. A step that discards and does not tell of its tokens leaves the share unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class TokensDiscarded(RunMetric):
    """Share of the tokens generated for training that were never trained on; NaN where that is not known."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("tokens", "adv/pos_frac")
    also: ClassVar[tuple[str, ...]] = ("sampling/rounds", "sampling/kept_frac", "sampling/used_tokens_frac")
    joint: ClassVar[bool] = False

    def measure(self, curve: Curve) -> float:
        tokens = numpy.diff(curve["tokens"], prepend=0.0)
        if curve["tokens"][-1] <= 0:
            return math.nan
        if "sampling/rounds" not in curve or "sampling/kept_frac" not in curve:
            return 0.0
        rounds, kept = curve["sampling/rounds"], curve["sampling/kept_frac"]
        whole = numpy.isnan(rounds) | ((rounds == 1) & (kept == 1))
        used = tokens * numpy.where(whole, 1.0, curve.get("sampling/used_tokens_frac", math.nan))
        return 1.0 - float(used.sum() / tokens.sum())
