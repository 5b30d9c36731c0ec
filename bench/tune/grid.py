"""The grid: every combination of values, the same for every algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from bench import registry, resolve_control
from bench.config import CONTROL, RunSpec
from bench.errors import ConfigError
from bench.sweep.cells import Cell, Skipped, cells
from bench.sweep.plan import Plan

FIRST = 100  # seeds from here on are for tuning; those below, for what is reported
SPLIT = "train.eval_split=tune"


@dataclass(frozen=True)
class Grid:
    """Settings and the values to try, in the order given."""

    values: dict[str, tuple[str, ...]]  # "train.lr": ("1e-4", "3e-4")

    @classmethod
    def read(cls, texts: Sequence[str]) -> Grid:
        """From `train.lr=1e-4,3e-4`. Raises ConfigError for anything of another form, and for what no recipe can hold."""
        found: dict[str, tuple[str, ...]] = {}
        for text in texts:
            name, _, rest = text.partition("=")
            values = tuple(dict.fromkeys(value.strip() for value in rest.split(",") if value.strip()))
            if name.partition(".")[0] not in ("algo", "train") or not name.partition(".")[2] or len(values) < 2:
                raise ConfigError(
                    f"--grid takes a setting of algo or train with two values or more, such as train.lr=1e-4,3e-4; it got {text!r}"
                )
            if name in found:
                raise ConfigError(f"--grid names {name} twice; give all of its values at once")
            found[name] = values
        if not found:
            raise ConfigError("there is no grid: give --grid, such as --grid train.lr=1e-4,3e-4,1e-3")
        return cls(found)

    def points(self) -> list[tuple[str, ...]]:
        """Every combination, as settings."""
        return [
            tuple(f"{name}={value}" for name, value in zip(self.values, chosen, strict=True)) for chosen in product(*self.values.values())
        ]

    def edges(self, point: Sequence[str]) -> list[str]:
        """Settings of a point that are the least or the greatest of three values or more: beyond them might be better ones."""
        found = []
        for setting in point:
            name, _, value = setting.partition("=")
            numbers = _numbers(self.values[name])
            if len(numbers) >= 2 and float(value) in (min(numbers), max(numbers)):
                found.append(setting)
        return found


def _numbers(values: Sequence[str]) -> list[float]:
    """The values as numbers; none where one is no number."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return []


def tuning(plan: Plan, grid: Grid) -> dict[tuple[str, ...], list[Cell]]:
    """The cells of every point of the grid, on the tuning split where a task has one.

    Raises ConfigError for seeds of which results are reported, for an algorithm that cannot have one of the settings or cannot learn one of
    the tasks (the grid is equal or it is none), and for tasks whose scores have no common scale.
    """
    early = [seed for seed in plan.seeds if seed < FIRST]
    if early:
        raise ConfigError(
            f"seed {early[0]} is one of those that results are reported of; tune with seeds from {FIRST} on, such as 100..102"
        )
    _check_scale(plan)
    split = tuple(f"{task}:{SPLIT}" for task in plan.task if CONTROL not in _class(task).tiers)
    found: dict[tuple[str, ...], list[Cell]] = {}
    for point in grid.points():
        each = list(cells([replace(plan, set=(*plan.set, *point, *split), name=" ".join(point))]))
        for cell in each:
            if isinstance(cell, Skipped):
                raise ConfigError(
                    f"{cell.label} on {cell.task}: {cell.reason}; the grid is equal for all only if all can be run: leave one out"
                )
        found[point] = [cell for cell in each if isinstance(cell, Cell)]
    return found


def _check_scale(plan: Plan) -> None:
    """Raises ConfigError where a mean over the tasks would mean nothing."""
    for name in plan.task if len(plan.task) > 1 else ():
        task = _class(name)
        if CONTROL in task.tiers and (task.floor is None or task.ceiling is None):
            raise ConfigError(f"{name} has returns of its own scale, and a mean over several tasks would mean nothing; tune it alone")


def _class(task: str) -> type[Any]:
    return registry.load("tasks", resolve_control.named(task)[0])


def typed(spec: RunSpec, setting: str) -> Any:
    """The value that a setting has in a specification, as its own type."""
    part, _, name = setting.partition("=")[0].partition(".")
    return spec.algorithm.settings[name] if part == "algo" else getattr(spec.train, name)
