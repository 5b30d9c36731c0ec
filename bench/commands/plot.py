"""`bench plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Results


def plot(
    name: Annotated[str, typer.Argument(help="Which picture; --list says what there is.")] = "",
    results: Results = Path("results"),
    table: Annotated[str, typer.Option(help="These tables only, with commas between them: gsm8k-tiny,cartpole.")] = "",
    algo: Annotated[str, typer.Option(help="These algorithms only, with commas between them.")] = "",
    axis: Annotated[str, typer.Option(help="Curves against samples, tokens, verifier_calls, updates, cpu_seconds or seconds.")] = "samples",
    out: Annotated[
        Path | None, typer.Option(help="File to write; with several boards each gets its name put in. [default: out/NAME.png]")
    ] = None,
    format: Annotated[str, typer.Option(help="png, svg or pdf; by default what --out ends in.")] = "",
    listing: Annotated[bool, typer.Option("--list", help="List the pictures there are.")] = False,
) -> None:
    """Draw one picture of the runs there are: curves, profiles, intervals, what each rule makes of an advantage."""
    from bench.errors import ConfigError
    from bench.report import figures, plotting

    if listing:
        for known in map(figures.load, figures.names()):
            typer.echo(f"{known.name:<28}{known.caption}")
        return
    if not name:
        raise ConfigError(f"no picture named; there are {', '.join(figures.names())}")
    paths, empty = plotting.plot(results, name, out, format, axis, table, algo)
    for reason in empty:
        typer.echo(reason, err=True)
    for path in paths:
        typer.echo(path)
