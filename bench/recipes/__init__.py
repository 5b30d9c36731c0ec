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
    """The recipe for one rule: `<tier>.toml`, over it `<task>-<tier>.toml`. Raises ConfigError for a file that cannot be read."""
    budget, train, settings, pretrain = Recipe.budget, dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for name in (tier, f"{task}-{tier}"):
        held = _read(Path(__file__).parent / f"{name}.toml")
        own = dict(held.get("algorithms", {}).get(algorithm, {}))
        train |= held.get("train", {}) | own.pop("train", {})
        settings |= own
        pretrain |= held.get("pretrain", {})
        budget = held.get("run", {}).get("budget", budget)
    return Recipe(budget, train, settings, pretrain)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text()) if path.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML ({error}); mend it or install bench again") from error
