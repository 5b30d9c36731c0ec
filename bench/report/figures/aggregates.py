"""Interquartile mean, mean and optimality gap over all runs of all boards of a kind, with intervals over seeds; best first.

For the gap, how far runs fall short of 1 on average, less is better. The median over so few tasks would be their mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.board.aggregates import Aggregate
from bench.board.groups import Board
from bench.report import theme
from bench.report.axes import number
from bench.report.data import Report
from bench.report.names import marked
from bench.report.palette import Look, look
from bench.stats.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCOPE = "all"
NOTHING = "an aggregate needs two boards of a kind whose scores have a common scale, with two seeds of the same two algorithms on each"
MEASURES = (("iqm", "interquartile mean"), ("mean", "mean"), ("gap", "optimality gap"))


def draw(report: Report, board: Board | None = None, axis: str = "samples") -> Figure | None:
    """None where `NOTHING` applies, and for a single board."""
    found = [] if board else report.aggregates()
    if not found:
        return None
    heights = [0.21 * len(one.rows) + 0.9 for one in found]
    with theme.themed():
        figure = theme.sheet(9.0, sum(heights) + 0.2)
        panels = figure.subplots(len(found), len(MEASURES), squeeze=False, height_ratios=heights)
        for row, one in zip(panels, found, strict=True):
            units = (f"{one.kind}: {', '.join(one.boards)}", " ", "less is better")
            for panel, (measure, title), unit in zip(row, MEASURES, units, strict=True):
                _panel(panel, one, measure, named=panel is row[0])
                theme.heading(panel, title, unit)
    return figure


def _panel(panel: Axes, one: Aggregate, measure: str, named: bool) -> None:
    """The axis reaches as far as the competitors and the controls among them; one beyond stands at the edge with its value."""
    from matplotlib.ticker import MaxNLocator

    rivals = [getattr(row, measure) for row in one.rows if not row.control] or [getattr(row, measure) for row in one.rows]
    low, high = span(rivals)
    low, high = span([*rivals, *(own for row in one.rows if low <= (own := getattr(row, measure)).value <= high)])
    for place, row in enumerate(one.rows):
        found, own = getattr(row, measure), look(row.label.partition(" ")[0])
        if low <= found.value <= high:
            _bar(panel, place, found, own)
        else:
            text, side, where = (
                (f"◂ {number(found.value)}", "left", low) if found.value < low else (f"{number(found.value)} ▸", "right", high)
            )
            panel.text(where, place, text, ha=side, va="center_baseline", fontsize=theme.SMALL, color=own.color)
    panel.set_xlim(low, high)
    panel.set_ylim(len(one.rows) - 0.4, -0.6)
    panel.set_yticks(range(len(one.rows)), [row.label for row in one.rows] if named else [])
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.grid(visible=False, axis="y")
    panel.spines["left"].set_visible(False)


def span(found: Sequence[Interval]) -> tuple[float, float]:
    """From the lowest to the highest bound, with a margin."""
    ends = [end for one in found for end in (one.low, one.value, one.high) if not math.isnan(end)]
    margin = 0.06 * (max(ends) - min(ends)) or 0.05
    return min(ends) - margin, max(ends) + margin


def _bar(panel: Axes, place: int, found: Interval, own: Look) -> None:
    """The interval as a bar and the value as a marker on it."""
    if found.known:
        panel.barh(place, found.high - found.low, left=found.low, height=0.62, color=own.color, alpha=0.3, linewidth=0)
    panel.plot([found.value], [place], color=own.color, linestyle="none", **marked(own, 5.5))
