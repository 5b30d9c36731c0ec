"""How far each step strays from the policy that sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bench.metrics.base import Curve, RunMetric


@dataclass(frozen=True, kw_only=True)
class KLToOld(RunMetric):
    """Distance from the policy that sampled, in nats a token or action, mean over training steps (estimator k3 of Schulman 2020)."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    needs: ClassVar[tuple[str, ...]] = ("kl_old/k3",)

    def measure(self, curve: Curve) -> float:
        return float(curve["kl_old/k3"].mean())
