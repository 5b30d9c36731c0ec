"""`bench tune`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands.options import AsJson, Results
from bench.commands.sweep import Algorithms, Budget, Model, Sampler, Settings, Tasks, Tier, Workers, crew, go


def tune(
    algo: Algorithms = None,
    task: Tasks = None,
    grid: Annotated[
        list[str] | None, typer.Option("--grid", help="Values to try: train.lr=1e-4,3e-4,1e-3. Several: every combination.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Tuning seeds, 100 or above: those below are for what is reported.")] = "100..102",
    tier: Tier = None,
    sampler: Sampler = None,
    model: Model = None,
    budget: Budget = None,
    settings: Settings = None,
    workers: Workers = 0,
    write: Annotated[bool, typer.Option("--write", help="Put the chosen values into bench/recipes, with where they come from.")] = False,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Choose settings by an equal grid for every algorithm, on the tuning split and tuning seeds. The same command goes on; exit code 1
    where a cell failed."""
    from rich.console import Console

    from bench.store import TUNING, RunStore
    from bench.sweep.jobs import jobs
    from bench.sweep.plan import plans
    from bench.sweep.tally import Tally
    from bench.tune.choice import gather, show
    from bench.tune.grid import Grid, tuning
    from bench.tune.recipe import Origin
    from bench.tune.recipe import write as write_recipe

    given: dict[str, Any] = {"algo": algo, "task": task, "seeds": seeds, "tier": tier, "sampler": sampler, "model": model}
    (plan,) = plans(given | {"budget": budget, "set": tuple(settings or ())})
    values = Grid.read(grid or ())
    points = tuning(plan, values)
    found, console, store = jobs(cell for cells in points.values() for cell in cells), Console(), RunStore(results / TUNING)
    hire, count = crew(found, store, "local", "", workers)
    code = go(found, store, hire, count, console, as_json, brief=True)
    if code in (0, 1):
        tried = gather(points, Tally(found, store))
        show(tried, values, Console(stderr=as_json))
        if write:
            for line in write_recipe(tried, Origin(plan, values)):
                print(line, file=sys.stderr if as_json else sys.stdout)
    raise typer.Exit(code)
