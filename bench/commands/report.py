"""`bench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Results


def report(
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out/report"),
    table: Annotated[list[str] | None, typer.Option(help="Report this table alone; may be given several times.")] = None,
) -> None:
    """Write the comparison: one self-contained HTML page, and beside it pictures, Markdown and CSV."""
    from bench.repeat import command
    from bench.report.page.write import write

    written = write(results, out, command, tuple(table or ()))
    print(written[0])
    print(f"and beside it {len(written) - 1} files: pictures, leaderboard.md, CSV")
