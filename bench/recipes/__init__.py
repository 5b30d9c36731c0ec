"""The few numbers that are not the papers', per task and tier, each with its source in the file."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import ConfigError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """Starting values for one task at one tier; what a user sets wins over them."""

    budget: int = 8192  # completions
    train: dict[str, Any] = field(default_factory=dict)
    algorithm: dict[str, Any] = field(default_factory=dict)
    pretrain: dict[str, Any] = field(default_factory=dict)
    reward: dict[str, Any] = field(default_factory=dict)


def recipe(task: str, tier: str, algorithm: str = "", *, adapters: bool = False, folder: Path = FOLDER) -> Recipe:
    """The recipe for one rule: `<tier>.toml`, over it `<task>-<tier>.toml`; of each, what is for `adapters` goes over the rest.

    Raises ConfigError for a file that cannot be read.
    """
    budget, train, settings, pretrain, reward = Recipe.budget, *(dict[str, Any]() for _ in range(4))
    for name in (tier, f"{task}-{tier}"):
        held = _read(folder / f"{name}.toml")
        own = dict(held.get("algorithms", {}).get(algorithm, {}))
        train |= held.get("train", {}) | (held.get("lora", {}).get("train", {}) if adapters else {}) | own.pop("train", {})
        settings |= own
        pretrain |= held.get("pretrain", {})
        reward |= held.get("reward", {})
        budget = held.get("run", {}).get("budget", budget)
    return Recipe(budget, train, settings, pretrain, reward)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text()) if path.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML ({error}); mend it or install bench again") from error


def read_provenance(path: Path) -> dict[str, Any]:
    """By algorithm, the grid, the seeds and every run's score from which `bench tune` chose a recipe's values; empty where it chose none.

    The values of `<name>.toml` have theirs in `provenance/<name>.json`. Raises ConfigError for a file that cannot be read.
    """
    try:
        return dict(json.loads(path.read_bytes())) if path.exists() else {}
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error}); mend it or remove it") from error
