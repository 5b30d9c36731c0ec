"""When a run loses for good what it had learnt.

Collapsed at evaluation k: from k on to the end, every score lies below start + (1 - share) * (best up to k - start), and the best is at
least `least_gain` above the start. The bound keeps the noise of evaluations from making a collapse of a run that never learnt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric
from bench.metrics.falls import Collapse


@dataclass(frozen=True, kw_only=True)
class CollapseStep(RunMetric):
    """Step of the first evaluation from which on over half of the held-out score's gain stays lost to the end; NaN if none is."""

    share: float = 0.5  # of the gain that must be lost
    least_gain: float = 0.1  # in the task's unit

    better: ClassVar[Literal["higher", "lower"]] = "higher"  # later
    needs: ClassVar[tuple[str, ...]] = ("step", "eval_score")

    def __post_init__(self) -> None:
        Collapse(self.share, self.least_gain)

    def measure(self, curve: Curve) -> float:
        place = Collapse(self.share, self.least_gain).at(curve["eval_score"])
        return math.nan if place is None else float(curve["step"][place])
