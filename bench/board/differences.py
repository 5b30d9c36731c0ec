"""Whether two runs left the same bytes, and where they part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import files
from bench.run_folder import CURVE, FAILED, ITEMS, SAMPLES

COMPARED = (CURVE, ITEMS, SAMPLES, FAILED)  # not timing, which no run repeats


def first(was: Path, now: Path, more: bool = False) -> str | None:
    """The first place at which the logs of the second folder differ from those of the first, in words; None where none does.

    `more`: fields that only the second one has are no difference. Raises StoreError for a file that cannot be read.
    """
    for name in COMPARED:
        before, after = files.content(was / name), files.content(now / name)
        if name in (ITEMS, SAMPLES) and not before:
            continue  # versions before this one kept none
        if before != after and (parted := _parted(before, after, more)) is not None:
            return f"{parted} ({name})"
    return None


def added(was: Path, now: Path) -> list[str]:
    """The fields that some line of the second folder's curve has and no line of the first's, sorted."""
    before, after = ({name for line in files.lines(folder / CURVE) for name in _flat("", line)} for folder in (was, now))
    return sorted(after - before)


def _parted(before: bytes, after: bytes, more: bool) -> str | None:
    lines, others = before.splitlines(), after.splitlines()
    for number, (line, other) in enumerate(zip(lines, others, strict=False), start=1):
        if line != other and (parted := _field(number, line, other, more)) is not None:
            return parted
    return None if len(lines) == len(others) else f"it has {_count(others)}, and had {_count(lines)}"


def _count(lines: list[bytes]) -> str:
    return f"{len(lines) or 'no'} line{'s' if len(lines) > 1 else ''}"


def _field(number: int, line: bytes, other: bytes, more: bool) -> str | None:
    """The first field in which two lines differ."""
    try:
        was, now = _flat("", json.loads(line)), _flat("", json.loads(other))
    except ValueError:
        return f"line {number} is corrupt"
    where = f"at step {was['step']}" if "step" in was else f"line {number}"
    names = [name for name in sorted({*was} if more else {*was, *now}) if was.get(name, "absent") != now.get(name, "absent")]
    if names:
        return f"{where} in {names[0]}: {now.get(names[0], 'absent')}, was {was.get(names[0], 'absent')}"
    return None if more else f"{where} is written in another way"


def _flat(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: held for part, inner in value.items() for key, held in _flat(f"{name}.{part}" if name else part, inner).items()}
    if isinstance(value, list):
        return {key: held for i, inner in enumerate(value) for key, held in _flat(f"{name}[{i}]", inner).items()}
    return {name: value}
