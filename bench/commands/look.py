"""`bench ls`, `bench check` and `bench doctor`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import AsJson, Results


class Listed(StrEnum):
    """What `bench ls` lists."""

    algorithms = "algorithms"
    tasks = "tasks"
    metrics = "metrics"
    samplers = "samplers"
    runs = "runs"


def ls(
    what: Annotated[Listed, typer.Argument(help="What to list.")],
    results: Results = Path("results"),
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table the README holds.")] = False,
    as_json: AsJson = False,
) -> None:
    """List algorithms, tasks, metrics, samplers or runs; third-party plug-ins included."""
    from bench import listings

    if what is Listed.runs:
        from bench.store import RunStore

        listings.runs(RunStore(results), as_json)
    else:
        listings.plugins(what.value, markdown, as_json)


def check(
    name: Annotated[str, typer.Argument(help="Algorithm, task, sampler or metric, ours or a third party's.")] = "",
    against: Annotated[
        str, typer.Option(help="Compare with a peer's own functions: trl, verl, sb3 or d3rlpy. Without NAME, all it has.")
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="With --against: print the tables of docs/conformance.md.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the contracts every plug-in of its kind must keep; exit code 1 where one is broken."""
    from bench import listings
    from bench.errors import ConfigError

    if markdown and (as_json or not against):
        raise ConfigError("--markdown prints the tables of a comparison: give --against trl or verl, and no --json")
    if against:
        from bench.peers import printed

        raise typer.Exit(0 if printed.show(against, name or None, markdown, as_json) else 1)
    if not name:
        raise ConfigError("nothing to check: give the name of a plug-in, or a peer to compare with by --against")
    raise typer.Exit(0 if listings.checks(name, as_json) else 1)


def doctor(results: Results = Path("results"), as_json: AsJson = False) -> None:
    """Show versions, GPU, vLLM, hub and disk; what is missing, and the pip line that mends it."""
    from bench import listings

    listings.doctor(results, as_json)
