"""Whether two runs left the same bytes, and where they part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import files
from bench.run_folder import CURVE, FAILED, ITEMS, SAMPLES

COMPARED = (CURVE, ITEMS, SAMPLES, FAILED)  # not timing, which no run repeats


def first(was: Path, now: Path) -> str | None:
    """The first place at which the logs of the second folder differ from those of the first, in words; None where none does.

    Raises StoreError for a file that cannot be read.
    """
    for name in COMPARED:
        before, after = files.content(was / name), files.content(now / name)
        if name in (ITEMS, SAMPLES) and not before:
            continue  # versions before this one kept none
        if before != after:
            return f"{_parted(before, after)} ({name})"
    return None


def _parted(before: bytes, after: bytes) -> str:
    lines, others = before.splitlines(), after.splitlines()
    for number, (line, other) in enumerate(zip(lines, others, strict=False), start=1):
        if line != other:
            return _field(number, line, other)
    return f"it has {_count(others)}, and had {_count(lines)}"


def _count(lines: list[bytes]) -> str:
    return f"{len(lines) or 'no'} line{'s' if len(lines) > 1 else ''}"


def _field(number: int, line: bytes, other: bytes) -> str:
    """The first field in which two lines differ."""
    try:
        was, now = _flat("", json.loads(line)), _flat("", json.loads(other))
    except ValueError:
        return f"line {number} is corrupt"
    where = f"at step {was['step']}" if "step" in was else f"line {number}"
    names = [name for name in sorted({*was, *now}) if was.get(name, "absent") != now.get(name, "absent")]
    if not names:
        return f"{where} is written in another way"
    return f"{where} in {names[0]}: {now.get(names[0], 'absent')}, was {was.get(names[0], 'absent')}"


def _flat(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: held for part, inner in value.items() for key, held in _flat(f"{name}.{part}" if name else part, inner).items()}
    if isinstance(value, list):
        return {key: held for i, inner in enumerate(value) for key, held in _flat(f"{name}[{i}]", inner).items()}
    return {name: value}
