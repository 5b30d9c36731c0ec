"""What a tracker is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from bench.config import RunSpec
from bench.record import Record


@dataclass(frozen=True)
class Shown:
    """The newest record that an earlier call logged."""

    step: int
    samples: int
    tokens: int


class Tracker(Protocol):
    """One run in one library. An error of any kind costs the tracking, and never the run."""

    needs: ClassVar[tuple[str, ...]]  # modules that must be there
    extra: ClassVar[str]  # of the distribution, which brings them
    durable: ClassVar[bool]  # whether what `log` was given survives a killed process; if not, the tracker itself knows what it holds

    def start(self, spec: RunSpec, folder: Path, shown: Shown | None) -> None:
        """Begin, or go on after what was `shown`, which only a durable tracker is told. `folder` is its own, inside the run's."""

    def log(self, record: Record, values: dict[str, float]) -> None:
        """Show one record; `values` by all of their names."""

    def finish(self, summary: dict[str, float], failed: bool) -> None:
        """The end of this call, which need not be the run's."""
