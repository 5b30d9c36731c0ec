"""What the log of another library holds of one run, under its own names; and what each library calls what we have a name for."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import StoreError


@dataclass(frozen=True, kw_only=True)
class Names:
    """One library's words. A metric stands in `probes` only where its definition is ours; all others keep their own name."""

    library: str
    title: str
    unit: str  # what its steps count
    probes: Mapping[str, str]  # theirs: ours
    negative: frozenset[str] = frozenset()  # of those, the ones with the opposite sign
    trained: tuple[str, ...] = ()  # what training was paid, the first that is there
    judged: tuple[str, ...] = ()  # held-out evaluations, the first that is there; * for the name of a data set
    returns: frozenset[str] = frozenset()  # returns of episodes, which a task of ours may know the scale of
    rate: str = ""  # the learning rate
    steps_are_updates: bool = False


@dataclass
class Log:
    """One run as it was logged."""

    source: Path  # what names it: a file or a folder
    files: list[Path]  # whose bytes are the run
    series: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))  # by metric: step and value
    seconds: dict[int, float] = field(default_factory=dict)  # wall clock since the log began, by step
    items: dict[int, tuple[float, ...]] = field(default_factory=dict)  # by step: the score of each evaluated episode
    settings: dict[str, Any] = field(default_factory=dict)  # that the log tells
    completions: float | None = None  # per step, where it can be worked out
    budget: int | None = None  # in steps
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    dropped: int = 0  # values that were not finite
    notes: list[str] = field(default_factory=list)  # for the caller to show

    def add(self, name: str, step: int, value: float) -> None:
        """Keeps a finite value; counts another."""
        if math.isfinite(value):
            self.series[name].append((step, value))
        else:
            self.dropped += 1

    def steps(self) -> list[int]:
        """Every step at which something is known, in order."""
        return sorted({step for pairs in self.series.values() for step, _ in pairs} | set(self.items))


def corrupt(path: Path, where: str, why: object) -> StoreError:
    """The error for a log that cannot be what it should be."""
    return StoreError(f"{path} {where} cannot be read ({why}); restore the file, or leave it out")


def text_lines(path: Path) -> tuple[list[str], bool]:
    """The lines of a text file, and whether the last one was cut before its end. Raises StoreError where it cannot be read."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {path} ({error}); make it readable, or leave it out") from error
    if not text.strip():
        raise StoreError(f"{path} is empty; leave it out")
    return text.splitlines(), not text.endswith("\n")
