"""What is handed to a process at a time."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import files
from bench.config import CONTROL, RunSpec
from bench.errors import ConfigError, StoreError
from bench.sweep.cells import Cell


@dataclass(frozen=True)
class Job:
    """One run on text, or the seeds of one specification on Gymnasium, which train side by side."""

    label: str
    specs: tuple[RunSpec, ...]
    track: tuple[str, ...] = ()  # experiment trackers that show it as well

    @property
    def gpu(self) -> bool:
        """Whether it trains a model of the full tier."""
        return self.specs[0].tier == "full"

    @property
    def title(self) -> str:
        """What a person calls it."""
        seeds = [spec.seed for spec in self.specs]
        return f"{self.label} on {self.specs[0].table}, {f'seed {seeds[0]}' if len(seeds) == 1 else f'seeds {ranges(seeds)}'}"

    def without(self, run_ids: Collection[str]) -> Job | None:
        """What is left of it; None where that is nothing."""
        left = tuple(spec for spec in self.specs if spec.run_id not in run_ids)
        return replace(self, specs=left) if left else None

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"label": self.label, "specs": [spec.to_json() for spec in self.specs], "track": self.track})

    @classmethod
    def from_json(cls, text: str | bytes) -> Job:
        """The inverse of `to_json`."""
        held = json.loads(text)
        return cls(held["label"], tuple(RunSpec.from_json(spec) for spec in held["specs"]), tuple(held.get("track", ())))


def jobs(cells: Iterable[Cell]) -> list[Job]:
    """The cells as jobs, each run once: first those of many seeds, which take longest, then all of the first seed, all of the second, and
    so on, so that a sweep that is stopped early has a bit of everything."""
    groups: dict[tuple[str, str], list[RunSpec]] = {}
    alone: dict[str, Cell] = {}
    known: set[str] = set()
    for cell in cells:
        if cell.spec.run_id in known:
            continue
        known.add(cell.spec.run_id)
        if cell.spec.tier == CONTROL:
            groups.setdefault((cell.label, replace(cell.spec, seed=0).run_id), []).append(cell.spec)
        else:
            alone[cell.spec.run_id] = cell
    together = [Job(label, tuple(specs)) for (label, _), specs in groups.items()]
    order = {seed: place for place, seed in enumerate(dict.fromkeys(cell.spec.seed for cell in alone.values()))}
    return together + [Job(c.label, (c.spec,)) for c in sorted(alone.values(), key=lambda cell: order[cell.spec.seed])]


def write(path: Path, found: Sequence[Job]) -> None:
    """One job a line, complete: what is run does not depend on recipes or machines to come. Raises StoreError."""
    with files.guarded(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, "".join(job.to_json() + "\n" for job in found))


def read(path: Path) -> list[Job]:
    """The inverse of `write`. Raises StoreError for a file that cannot be read, ConfigError for one that holds something else."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise StoreError(f"cannot read {path} ({error.strerror}); `bench sweep --slurm` writes such a file") from error
    try:
        return [Job.from_json(line) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} holds no jobs ({error}); write it again with `bench sweep --slurm`") from error


def ranges(numbers: Iterable[int]) -> str:
    """0..4,7 for 0, 1, 2, 3, 4 and 7."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}..{part[1]}" for part in parts)
