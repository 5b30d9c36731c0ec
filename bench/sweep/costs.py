"""What runs cost, by those there are."""

from __future__ import annotations

import math
from collections import defaultdict

from bench.config import RunSpec


class Costs:
    """Seconds of wall clock per sample or step: of the same algorithm on the same table where one is known, else of another there."""

    def __init__(self) -> None:
        self._spent: dict[tuple[str, str], dict[str, tuple[int, float]]] = defaultdict(dict)  # by run id, so that none counts twice

    def learn(self, spec: RunSpec, samples: int, seconds: float) -> None:
        """A run has come so far in that time."""
        if samples > 0 and seconds > 0 and math.isfinite(seconds):
            self._spent[spec.table, spec.algorithm.name][spec.run_id] = samples, seconds

    def seconds(self, spec: RunSpec, samples: int = 0) -> float | None:
        """What is left to be spent on a run that has come so far; None where nothing like it is known. Seeds that train side by side
        share their time, so that the sum is that of all.
        """
        own = self._spent.get((spec.table, spec.algorithm.name), {})
        alike = own or {run: known for (table, _), runs in self._spent.items() if table == spec.table for run, known in runs.items()}
        if not alike:
            return None
        rate = sum(seconds for _, seconds in alike.values()) / sum(count for count, _ in alike.values())
        return rate * max(0, spec.budget - samples)


def duration(seconds: float) -> str:
    """48 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
