"""Every metric of a board as a table: a line for each, a column for each entry."""

from __future__ import annotations

import math

from bench.board.groups import Board, Entry
from bench.report.data import Report
from bench.report.measured import Measured, measured
from bench.report.page.elements import Cell, Column, Html, Table, element


def section(report: Report, board: Board) -> Html | None:
    """Folded up, as it is large; None where nothing is known."""
    found = measured(report, board)
    if not found:
        return None
    entries = report.ordered(board)
    columns = [Column("metric"), Column("better"), *(Column(entry.label, number=True) for entry in entries)]
    rows = [[_name(one), _better(one), *(_cell(one, entry) for entry in entries)] for one in found]
    table = Table(columns, rows, f"All metrics on {board.name}; in brackets how many seeds have the number, where not all do.")
    text = "Means over the seeds that did not diverge, or one number for all seeds together, each as its line says."
    return element("details", element("summary", "All metrics"), element("p", text, class_="soft"), table.html())


def _name(one: Measured) -> Cell:
    about = element("div", one.about, class_="about")
    return Cell([one.name.replace("_", " "), about], wide=True)


def _better(one: Measured) -> Cell:
    text = f"{one.better} is better"
    return Cell(element("span", "\u2191" if one.better == "higher" else "\u2193", title=text, aria_label=text, role="img"))


def _cell(one: Measured, entry: Entry) -> Cell:
    value, known = one.values.get(entry.key, (math.nan, 0))
    if math.isnan(value):
        return Cell("", math.nan)
    counted = len(entry.trials) if one.scope == "seeds" else len(entry.trials) - entry.diverged
    return Cell(brief(value) + (f" ({known})" if known != counted else ""), value)


def brief(value: float) -> str:
    """Three significant digits; 12,346 from a thousand on; small values as 1.2e-05."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1e-3 else f"{float(f'{value:.3g}'):g}"
