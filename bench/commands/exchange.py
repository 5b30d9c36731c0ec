"""`bench import` and `bench export`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import AsJson, Results


class Library(StrEnum):
    """Whose logs can be read."""

    trl = "trl"
    verl = "verl"
    tensorboard = "tensorboard"
    cleanrl = "cleanrl"
    sb3 = "sb3"


class Format(StrEnum):
    """What can be written."""

    marl_eval = "marl-eval"
    rliable = "rliable"
    csv = "csv"
    parquet = "parquet"


def import_(
    sources: Annotated[
        list[Path], typer.Argument(help="File or folder that the other library wrote; a folder may hold a run for each seed.")
    ],
    library: Annotated[Library, typer.Option("--from", help="Whose log it is.")],
    task: Annotated[str, typer.Option("--task", help="What the runs were about; the table is called TASK-LIBRARY.")],
    algo: Annotated[str, typer.Option("--algo", help="What to call the algorithm.")],
    seed: Annotated[int | None, typer.Option(help="Seed of the run, where neither the log nor a folder called seed_N tells it.")] = None,
    score: Annotated[str, typer.Option(help="Metric that is the held-out score, by the log's own name; by default the library's.")] = "",
    unit: Annotated[str, typer.Option(help="What the log's steps count, where it is not what the library usually counts.")] = "",
    budget: Annotated[int, typer.Option(help="What the runs were to spend, in that unit; 0: what the log says, or what they spent.")] = 0,
    completions: Annotated[float, typer.Option(help="Of text: completions sampled per step of the log; 0: what the log tells.")] = 0.0,
    family: Annotated[str, typer.Option("--as", help="In place of the library in the table's name, to put several on one board.")] = "",
    settings: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE that is known of the algorithm, such as lr=1e-5.")] = None,
    records: Annotated[int, typer.Option(help="Records per run at the most; of more, means of even stretches are kept.")] = 1000,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Bring runs of TRL, verl, CleanRL, Stable-Baselines3 or any TensorBoard log into the results, in tables of their own."""
    from bench.config import ImportedSettings
    from bench.exchange.importing import bring
    from bench.exchange.wanted import Wanted, read_settings
    from bench.store import RunStore

    wanted = Wanted(
        library=library.value,
        task=task,
        algorithm=algo,
        seed=seed,
        score=score,
        unit=unit,
        budget=budget,
        completions=completions,
        family=family,
        settings=read_settings(settings or []),
        limit=records,
    )
    for one in bring(sources, wanted, RunStore(results)):
        found = {"run_id": one.folder.name, "folder": str(one.folder), "new": one.new, "records": one.records, "score": one.score}
        if as_json:
            print(json.dumps({"seed": one.spec.seed, **found, "notes": one.notes}))
            continue
        assert isinstance(one.spec.train, ImportedSettings)
        scored = "no score" if one.score is None else f"score {one.score:.4g} ({one.spec.train.score})"
        what = f"{one.records} records, {scored}" if one.new else "already there"
        print(f"seed {one.spec.seed}: {what}: {one.folder}")
        for note in one.notes:
            print(f"  {note}")


def export(
    out: Annotated[Path, typer.Argument(help="File to write; a folder for rliable.")],
    to: Annotated[
        Format, typer.Option("--to", help="marl-eval: its JSON layout. rliable: arrays of scores. csv, parquet: one row a record.")
    ],
    table: Annotated[list[str] | None, typer.Option("--table", help="Only this table; may be given several times.")] = None,
    algo: Annotated[list[str] | None, typer.Option("--algo", help="Only this algorithm; may be given several times.")] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Where algorithms lack tasks or seeds: keep what all have, in place of an error.")
    ] = False,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Write results in the form that other libraries read."""
    from bench.exchange.exporting import export as write

    made = write(results, to.value, out, table or (), algo or (), common)
    if as_json:
        print(json.dumps({"files": [str(path) for path in made.files], "notes": made.notes}))
        return
    for path in made.files:
        print(path)
    for note in made.notes:
        print(note)
