"""Boards on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from bench.board import markdown, verdicts, words
from bench.board.aggregates import Aggregate
from bench.board.comparing import Comparison
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


def compared(comparisons: Sequence[Comparison], console: Console) -> None:
    """The verdicts, the numbers behind them, and what else is known of the two."""
    for one in comparisons:
        console.print(f"[bold]{escape(_capital(verdicts.verdict(one)))}.[/]", highlight=False)
    if told := verdicts.over(comparisons):
        console.print(f"[bold]{escape(told)}[/]", highlight=False)
    first, second = (entry.label for entry in comparisons[0].entries)
    grid = Grid(title=escape(f"{first} less {second}"), title_justify="left", title_style="", show_edge=False, pad_edge=False)
    for name in ("table", "difference [95 %]", "p", "first better [95 %]", "detectable", "seeds needed"):
        grid.add_column(escape(name), justify="left" if name == "table" else "right")
    for one in comparisons:
        better = one.improvement
        cells = [
            words.interval(verdicts.difference(one)),
            _p(one.p),
            "" if better is None else words.interval(better),
            words.number(one.smallest),
        ]
        grid.add_row(escape(one.board.name), *map(escape, cells), "" if one.needed is None or one.decided else f"{one.needed:,}")
    console.print()
    console.print(grid)
    console.print()
    console.print(_beside(comparisons))


def _beside(comparisons: Sequence[Comparison]) -> Grid:
    """Metrics of both."""
    first, second = (entry.label for entry in comparisons[0].entries)
    grid = Grid(title="Descriptive: means over seeds, no test", title_justify="left", title_style="", show_edge=False, pad_edge=False)
    for name in ("table", "metric", first, second):
        grid.add_column(escape(name), justify="left" if name in ("table", "metric") else "right")
    for one in comparisons:
        for i, (name, fact) in enumerate(one.facts[0].items()):
            grid.add_row(
                escape(one.board.name) if i == 0 else "", name, str(fact), str(one.facts[1][name]), end_section=i == len(one.facts[0]) - 1
            )
    return grid


def _p(p: float) -> str:
    return "" if p != p else "<0.001" if p < 0.001 else f"{p:.3f}"


def _capital(text: str) -> str:
    """A sentence begins with a capital, a name stays as it is."""
    return text[0].upper() + text[1:] if text.startswith(("a tie", "undecided")) else text


def _board(table: Table, width: int) -> Grid:
    """As many columns as fit; Markdown, CSV and JSON have all."""
    grid = Grid(title=f"[bold]{escape(words.title(table))}[/]", title_justify="left", title_style="", show_edge=False, pad_edge=False)
    columns = dict(list(markdown.shown(table).items())[: max(0, (width - NARROW) // EACH)])
    for name in ("rank", "algorithm", "score [95 %]", "seeds", *columns, "runs"):
        grid.add_column(escape(name), justify="left" if name == "algorithm" else "right", no_wrap=True)
    for row in table.rows:
        facts = [str(row.facts[name]) for name in columns.values()]
        label = escape(row.label) + (f"[dim]{markdown.CONTROL}[/]" if row.control else "")
        cells = [
            str(row.rank or ""),
            label,
            escape(words.score_of(row)),
            words.seeds_of(row),
            *facts,
            f"[dim]{row.hash[: 12 if width > NARROW + EACH else 8]}[/]",
        ]
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
