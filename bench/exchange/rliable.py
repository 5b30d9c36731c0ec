"""Arrays for rliable: files whose content its functions take as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import files
from bench.exchange.grid import Grid

SCORES, CURVES, AXES = "scores.npz", "curves.npz", "axes.json"


def write(grid: Grid, out: Path) -> list[Path]:
    """In the folder `out`: final scores (runs x tasks) and learning curves (runs x tasks x evaluations), each with one array for each
    algorithm, and the names of the axes. Without the curves, with a note, where runs were not evaluated equally often.

    Raises StoreError where the disk refuses.
    """
    import numpy

    tasks, algorithms = list(grid.runs), grid.algorithms
    axes: dict[str, Any] = {"tasks": tasks, "units": {name: grid.tasks[name].unit for name in tasks}, "notes": grid.notes}
    axes["seeds"] = {label: {task: [run.seed for run in grid.runs[task][label]] for task in tasks} for label in algorithms}
    scores = {label: numpy.array([[run.scores[-1] for run in grid.runs[task][label]] for task in tasks]).T for label in algorithms}
    made = [out / SCORES, out / AXES]
    counts = {len(run.scores) for held in grid.runs.values() for runs in held.values() for run in runs}
    curves = {}
    if len(counts) == 1:
        curves = {label: numpy.array([[r.scores for r in grid.runs[task][label]] for task in tasks]).swapaxes(0, 1) for label in algorithms}
        axes["samples"] = {label: {task: [run.samples for run in grid.runs[task][label]] for task in tasks} for label in algorithms}
        made.insert(1, out / CURVES)
    else:
        grid.notes.append(f"no {CURVES}: runs have between {min(counts)} and {max(counts)} evaluations")
    with files.guarded(out):
        out.mkdir(parents=True, exist_ok=True)
        numpy.savez(out / SCORES, allow_pickle=False, **scores)
        if curves:
            numpy.savez(out / CURVES, allow_pickle=False, **curves)
        else:
            (out / CURVES).unlink(missing_ok=True)  # of an earlier call
        files.replace(out / AXES, json.dumps(axes, indent=1))
    return made
