"""The JSON layout of marl-eval (Gorsane et al. 2022, arXiv 2209.10485): environment, task, algorithm, run, step, metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import files
from bench.errors import ConfigError
from bench.exchange.grid import Evaluated, Grid

METRIC = "score"


def write(grid: Grid, out: Path) -> list[Path]:
    """One file; the environment is the tier, and a step's list holds the score of each held-out item where the runs kept them.

    `absolute_metrics` is the last evaluation: marl-eval's protocol would evaluate the best policy of the run ten times longer, and no
    policy is chosen by its score here. Raises ConfigError where runs were not evaluated equally often, which marl-eval cannot take, and
    StoreError where the disk refuses.
    """
    counts = {len(run.scores): f"{label} on {task}, seed {run.seed}" for task, label, run in _each(grid)}
    if len(counts) > 1:
        said = " and ".join(f"{count} ({where})" for count, where in sorted(counts.items()))
        raise ConfigError(f"marl-eval takes runs with equally many evaluations, and there are {said}; choose fewer by --table or --algo")
    made: dict[str, Any] = {}
    for task, label, run in _each(grid):
        environment = made.setdefault(str(grid.tasks[task].protocol["tier"]), {})
        environment.setdefault(task, {}).setdefault(label.replace(",", ";"), {})[f"seed_{run.seed}"] = _run(run)
    with files.guarded(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        files.replace(out, json.dumps(made, indent=1, allow_nan=False))
    return [out]


def _each(grid: Grid) -> list[tuple[str, str, Evaluated]]:
    return [(task, label, run) for task, held in grid.runs.items() for label in sorted(held) for run in held[label]]


def _run(run: Evaluated) -> dict[str, Any]:
    scores = run.items or tuple((score,) for score in run.scores)
    steps = {
        f"step_{i}": {"step_count": int(spent), METRIC: list(values)}
        for i, (spent, values) in enumerate(zip(run.samples, scores, strict=True))
    }
    return {**steps, "absolute_metrics": {METRIC: list(scores[-1])}}
