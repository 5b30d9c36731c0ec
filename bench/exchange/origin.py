"""What is kept of where an imported run came from, and said of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import __version__, registry
from bench.config import Choice
from bench.exchange.log import Log, Names
from bench.exchange.records import Scale


def scale_of(task: Choice) -> Scale | None:
    """What reads a return on the scale of 0 (random actions) to 1 (known to be reached), where the task is one that knows it."""
    if task.settings or task.name not in registry.names("tasks"):
        return None
    known = registry.load("tasks", task.name)
    if getattr(known, "floor", None) is None or getattr(known, "ceiling", None) is None:
        return None
    score: Scale = known().score
    return score


def digest(files: Sequence[Path]) -> str:
    """SHA-256 of the files' names and bytes."""
    found = hashlib.sha256()
    for path in files:
        found.update(f"{path.name}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    return found.hexdigest()


def notes(log: Log, score: str, names: Names) -> tuple[str, ...]:
    """What the user should know, in sentences."""
    found = list(log.notes)
    if log.dropped:
        found.append(f"{log.source}: {log.dropped} values were not finite, and are left out")
    if not score:
        trained = next((name for name in names.trained if name in log.series), None)
        hint = f"; --score {trained} takes what training was paid for it" if trained else "; choose one by --score"
        found.append(f"{log.source}: no evaluation in this log, so that the run has no score{hint}")
    elif score in names.trained:
        found.append(f"{log.source}: the score is {score}, which is of training and not of an evaluation")
    return tuple(found)


def facts(log: Log, names: Names, digest: str, score: str, scaled: bool) -> dict[str, Any]:
    """The provenance that the run folder keeps."""
    imported = {
        "from": names.library,
        "source": str(log.source.absolute()),
        "files": [path.name for path in log.files],
        "sha256": digest,
        "versions": log.versions,
        "dropped": log.dropped,
        "score": score,
        "scaled": scaled,
        "notes": log.notes,
    }
    return {"bench": __version__, "imported": imported}
