"""How fast a policy narrows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class EntropySlope(RunMetric):
    """Change of entropy by least squares, in nats a token or action for every 1,000 samples; below 0 where the policy narrows."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("samples", "entropy/token|entropy/policy")

    def measure(self, curve: Curve) -> float:
        samples, entropy = curve["samples"], curve["entropy/token"]
        off = samples - samples.mean()
        spread = float(off @ off)
        return 1000 * float(off @ (entropy - entropy.mean())) / spread if spread > 0 else math.nan
