"""How far training has led away from the start model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class KLToStart(RunMetric):
    """Distance from the frozen start model at the last training step, in nats a token (estimator k3 of Schulman 2020)."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("kl_ref/k3|kl_ref/k1",)

    def measure(self, curve: Curve) -> float:
        return float(curve["kl_ref/k3"][-1])
