"""What every kind of plug-in promises of its settings: they are what a run records, so they must come back from the record."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict, fields
from typing import Any

from bench.checks.expect import expect
from bench.config import build


def survive_json(plug_in: Any) -> None:
    """Settings written as JSON and read again build an equal plug-in."""
    read = json.loads(json.dumps(asdict(plug_in), allow_nan=False))
    again = build(type(plug_in), type(plug_in).__name__, read)
    expect(again == plug_in, f"settings {read} build {again}, not {plug_in}")


def are_frozen(plug_in: Any) -> None:
    """No setting can be changed after the plug-in is built."""
    for field in fields(plug_in):
        try:
            setattr(plug_in, field.name, getattr(plug_in, field.name))
        except FrozenInstanceError:
            continue
        raise AssertionError(f"{field.name} can be assigned; a plug-in is a frozen dataclass")


def has_a_summary(plug_in: Any) -> None:
    """The class says in its first docstring line what it is, for `bench ls`."""
    line = (type(plug_in).__doc__ or "").strip().partition("\n")[0]
    generated = line.startswith(f"{type(plug_in).__name__}(")  # what dataclass writes where there is no docstring
    expect(line and not generated, f"{type(plug_in).__name__} has no docstring; its first line is shown by `bench ls`")


CONTRACTS = [
    ("settings survive JSON", survive_json),
    ("settings cannot be changed", are_frozen),
    ("the class has a one-line summary", has_a_summary),
]
