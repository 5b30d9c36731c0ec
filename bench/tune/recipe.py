"""Puts what was chosen into the recipes, with where it came from."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import files, recipes
from bench.config import CONTROL, RunSpec
from bench.control_settings import LogSettings
from bench.errors import ConfigError
from bench.provenance import provenance
from bench.resolve_control import MANY
from bench.sweep.jobs import ranges
from bench.sweep.plan import Plan
from bench.tune.choice import Tried, best
from bench.tune.grid import SPLIT, Grid, typed
from bench.tune.toml import put


@dataclass(frozen=True)
class Origin:
    """What was asked for."""

    plan: Plan
    grid: Grid


def write(found: Mapping[str, Sequence[Tried]], origin: Origin, folder: Path | None = None) -> list[str]:
    """Set each algorithm's chosen values in the recipe of the task, or of the tier where there are several tasks, and keep every run's
    score in `provenance/` beside it; what was written, a line for each.

    Raises ConfigError where nothing was chosen or the recipe would not be read, StoreError where a file cannot be written.
    """
    folder = folder or recipes.FOLDER
    missing = [name for name, tried in found.items() if best(tried) is None]
    if missing:
        raise ConfigError(f"nothing is chosen for {', '.join(missing)}, so nothing is written; let every run end, or leave it out")
    chosen = {name: each for name, tried in found.items() if (each := best(tried)) is not None}
    name = _file(next(iter(chosen.values())).runs[0].spec, origin.plan)
    path, facts = folder / f"{name}.toml", folder / "provenance" / f"{name}.json"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for algorithm, each in chosen.items():
        for setting in each.point:
            part, _, key = setting.partition("=")[0].partition(".")
            table = ("algorithms", algorithm, *(("train",) if part == "train" else ()))
            text = put(text, table, key, typed(each.runs[0].spec, setting), _why(setting, origin, each, name))
    held = recipes.read_provenance(facts)
    held |= {algorithm: _facts(found[algorithm], each, origin) for algorithm, each in chosen.items()}
    with files.guarded(path):
        facts.parent.mkdir(exist_ok=True)
        files.replace(facts, json.dumps(held, indent=1, sort_keys=True) + "\n")
        files.replace(path, text)
    return [f"{path}: {', '.join(chosen)}", f"{facts}: every run's score", *_hidden(chosen, origin.plan, name, folder)]


def _file(spec: RunSpec, plan: Plan) -> str:
    """The recipe that a run of this kind reads."""
    if spec.task.name in MANY:
        raise ConfigError(f"{spec.task.name} stands for many tasks, and no recipe is for one of them; keep the values in a sweep's file")
    tier = "log" if isinstance(spec.train, LogSettings) else spec.tier
    return tier if len(plan.task) > 1 else f"{spec.task.name}-{tier}"


def _why(setting: str, origin: Origin, each: Tried, name: str) -> str:
    values = origin.grid.values[setting.partition("=")[0]]
    split = "" if each.runs[0].spec.tier == CONTROL else "the tuning split of "
    spent = dict.fromkeys(f"{run.spec.budget} {run.spec.unit}" for run in each.runs)
    others = "" if len(origin.grid.values) == 1 else f", with {', '.join(other for other in origin.grid.values if other not in setting)}"
    return (
        f"best of {', '.join(values)}{others}, on {split}{', '.join(origin.plan.task)}, seeds {ranges(origin.plan.seeds)}, "
        f"{' and '.join(spent)} ({_today()}; provenance/{name}.json)"
    )


def _facts(tried: Sequence[Tried], chosen: Tried, origin: Origin) -> dict[str, Any]:
    """Everything that the choice came from, as JSON."""
    runs = [
        {"point": list(each.point), "task": run.spec.task.name, "seed": run.spec.seed, "run_id": run.spec.run_id}
        | {"budget": run.spec.budget, "state": run.state, "score": run.score if run.state == "finished" else None}
        for each in tried
        for run in each.runs
    ]
    text = chosen.runs[0].spec.tier != CONTROL
    return {
        "grid": {name: list(values) for name, values in origin.grid.values.items()},
        "chosen": list(chosen.point),
        "score": chosen.score,
        "tasks": list(origin.plan.task),
        "seeds": list(origin.plan.seeds),
        "settings": [*origin.plan.set, *([SPLIT] if text else [])],
        "date": _today(),
        "runs": runs,
        "made_on": provenance(),
    }


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _hidden(chosen: Mapping[str, Tried], plan: Plan, name: str, folder: Path) -> list[str]:
    """What a task's own recipe goes on to say over what was written for its tier."""
    found = []
    for task in plan.task if len(plan.task) > 1 else ():
        for algorithm, each in chosen.items():
            held = recipes.recipe(task, name, algorithm, folder=folder)
            for setting in each.point:
                part, _, key = setting.partition("=")[0].partition(".")
                now = (held.train if part == "train" else held.algorithm).get(key)
                value = typed(each.runs[0].spec, setting)
                if now != (list(value) if isinstance(value, tuple) else value):
                    found.append(f"{folder / f'{task}-{name}.toml'} still has {key} = {now} for {algorithm}, and wins")
    return found
