"""What the user says of logs that are to be imported."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.config import CONTROL
from bench.errors import ConfigError, unknown

LIBRARIES = ("trl", "verl", "tensorboard", "cleanrl", "sb3")
OURS = ("tiny", "full", CONTROL)
NAME = re.compile(r"[A-Za-z0-9][\w.:+-]*")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user says of the logs; everything left open is read from them."""

    library: str
    task: str
    algorithm: str
    seed: int | None = None
    score: str = ""
    unit: str = ""
    budget: int = 0
    completions: float = 0.0  # per step; 0: what the log tells
    family: str = ""  # the second half of the table's name; empty: the library
    settings: dict[str, Any] = field(default_factory=dict)  # of the algorithm, as far as known
    limit: int = 1000  # records per run


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE as numbers, flags or text. Raises ConfigError for anything of another form."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise ConfigError(f"--set takes NAME=VALUE, such as lr=1e-5; it got {pair!r}")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def check(wanted: Wanted) -> None:
    """Raises ConfigError for what cannot work."""
    if wanted.library not in LIBRARIES:
        raise unknown("library to import from", wanted.library, LIBRARIES)
    for option, value in (("--task", wanted.task), ("--algo", wanted.algorithm), ("--as", wanted.family or wanted.library)):
        if not NAME.fullmatch(value):
            raise ConfigError(f"{option} is {value!r}; it takes letters, digits and . _ : + -, and names a folder")
    if wanted.family in OURS:
        raise ConfigError(
            f"--as {wanted.family} is where our own runs are, with a budget and an evaluation of their own; choose another name"
        )
