"""The few numbers that are not the papers', per task and tier, each with its source in the file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """Starting values for one task at one tier; what a user sets wins over them."""

    budget: int = 8192  # completions
    train: dict[str, Any] = field(default_factory=dict)
    algorithm: dict[str, Any] = field(default_factory=dict)
    pretrain: dict[str, Any] = field(default_factory=dict)


def recipe(task: str, tier: str, algorithm: str = "") -> Recipe:
    """The recipe of a task at a tier for one rule; empty where there is none. Raises ConfigError for a file that cannot be read."""
    path = Path(__file__).parent / f"{task}-{tier}.toml"
    if not path.exists():
        return Recipe()
    try:
        held = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML ({error}); mend it or install bench again") from error
    own = held.get("algorithms", {}).get(algorithm, {})
    settings = {name: value for name, value in own.items() if name != "train"}
    train = held.get("train", {}) | own.get("train", {})
    return Recipe(held.get("run", {}).get("budget", Recipe.budget), train, settings, held.get("pretrain", {}))
