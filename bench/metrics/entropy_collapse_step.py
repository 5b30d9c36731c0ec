"""When a policy has narrowed for good.

The entropy of a density, as of a Gaussian over actions, may be negative; a share of it says nothing, so the step is undefined where the
entropy at the start is not above 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric
from bench.metrics.tails import check_share


@dataclass(frozen=True, kw_only=True)
class EntropyCollapseStep(RunMetric):
    """First training step from which on entropy stays below a tenth of what it was at first; NaN if none is (after Cui et al. 2025)."""

    share: float = 0.1  # of the entropy at the first step that has one

    better: ClassVar[Literal["higher", "lower"]] = "higher"  # later
    needs: ClassVar[tuple[str, ...]] = ("step", "entropy/token|entropy/policy")

    def __post_init__(self) -> None:
        check_share("share", self.share)

    def measure(self, curve: Curve) -> float:
        entropy = curve["entropy/token"]
        low = entropy < self.share * entropy[0]
        if entropy[0] <= 0 or not low[-1]:
            return math.nan
        return float(curve["step"][len(low) - int(low[::-1].argmin())])
