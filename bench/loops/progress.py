"""How far a run has come: with the weights and the optimizer, all that resuming needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from bench.rollout import Group


@dataclass
class Progress:
    """Counts are cumulative. A loop updates them before it yields."""

    step: int = 0
    samples: int = 0
    tokens: int = 0
    verifier_calls: int = 0
    updates: int = 0
    drawn: int = 0  # problems taken from the training stream
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    history: list[float] = field(default_factory=list)  # mean return of each rollout batch
    kl: float | None = None  # strength of the pull on the next rollout batch, where it adapts
    carried: list[Group] = field(default_factory=list)  # groups sampled but not yet trained on
    examples: list[dict[str, Any]] = field(default_factory=list)  # a few completions of the newest step

    def to_json(self) -> dict[str, Any]:
        """JSON values that `from_json` reads back exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Progress:
        return cls(**{**data, "carried": [Group.from_json(group) for group in data["carried"]]})
