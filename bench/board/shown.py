"""Boards on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from bench.board import markdown, words
from bench.board.aggregates import Aggregate
from bench.board.leaderboard import Table

NARROW, EACH = 78, 17  # characters that the table takes without metrics, and each of those


def show(tables: Sequence[Table], aggregates: Sequence[Aggregate], console: Console) -> None:
    """Each board with what to know of it below, then the aggregates."""
    for table in tables:
        if table.rows:
            console.print(_board(table, console.width))
        else:
            console.print(f"[bold]{escape(words.title(table))}[/]: no run counts yet", highlight=False)
        _below(words.below(table), console)
    for one in aggregates:
        console.print(_aggregate(one))
        _below(words.overall(one), console)


def _board(table: Table, width: int) -> Grid:
    """As many columns as fit; Markdown, CSV and JSON have all."""
    grid = Grid(title=f"[bold]{escape(words.title(table))}[/]", title_justify="left", title_style="", show_edge=False, pad_edge=False)
    columns = dict(list(markdown.shown(table).items())[: max(0, (width - NARROW) // EACH)])
    for name in ("rank", "algorithm", "score [95 %]", "seeds", *columns, "runs"):
        grid.add_column(escape(name), justify="left" if name == "algorithm" else "right", no_wrap=True)
    for row in table.rows:
        facts = [str(row.facts[name]) for name in columns.values()]
        label = escape(row.label) + (f"[dim]{markdown.CONTROL}[/]" if row.control else "")
        cells = [str(row.rank or ""), label, escape(words.score_of(row)), words.seeds_of(row), *facts, f"[dim]{row.hash}[/]"]
        grid.add_row(*cells, style="bold" if row.rank and row.rank.low == 1 else "")
    return grid


def _aggregate(one: Aggregate) -> Grid:
    grid = Grid(title=f"[bold]All of {escape(one.kind)}[/]", title_justify="left", title_style="", show_edge=False, pad_edge=False)
    for name in ("algorithm", "IQM [95 %]", "mean [95 %]", "gap [95 %]", "runs"):
        grid.add_column(escape(name), justify="left" if name == "algorithm" else "right")
    for row in one.rows:
        label = escape(row.label) + (f"[dim]{markdown.CONTROL}[/]" if row.control else "")
        grid.add_row(label, *(escape(words.interval(held)) for held in (row.iqm, row.mean, row.gap)), str(row.runs))
    return grid


def _below(said: Sequence[str], console: Console) -> None:
    for one in said:
        console.print(f"  {escape(one)}", highlight=False)
    console.print()
