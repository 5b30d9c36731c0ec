"""How often a run of the row's entry beats a run of the column's, in percent: bold where the interval leaves out one half, else a tie.

Mann and Whitney's share of pairs with Newcombe's interval over seeds; of one pair each, so without correction for their number. It says
how often, never by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy

from bench.board.groups import Board
from bench.report import theme
from bench.report.data import Array, Report
from bench.report.theme import INK, MUTED
from bench.stats.intervals import Interval
from bench.stats.shares import improvement_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCOPE = "board"
NOTHING = "fewer than two entries of this board have a score of every seed"
BLUE, ORANGE = (0.16, 0.44, 0.82), (0.90, 0.45, 0.08)  # better and worse; far apart for every kind of sight
DEEPEST = 0.55  # opacity at 0 and 100 percent, so that ink stays readable on it


def draw(report: Report, board: Board | None = None, axis: str = "samples") -> Figure | None:
    """None where `NOTHING` applies."""
    if board is None:
        return None
    scores = {e.label: s for e in report.ordered(board) if not numpy.isnan(s := report.scores(board)[e.label]).any()}
    if len(scores) < 2:
        return None
    labels = list(scores)
    side = max(0.34 * len(labels), 1.1)
    with theme.themed():
        figure = theme.sheet(side + 2.4, side + 1.8)
        panel = figure.subplots()
        theme.heading(
            panel, board.name, f"percent of pairs of runs in which\nthe row beats the column;\nbold: not 50 ({report.level:.0%} interval)"
        )
        _cells(panel, labels, [scores[label] for label in labels], report.level)
        _edges(panel, labels)
    return figure


def _cells(panel: Axes, labels: Sequence[str], scores: Sequence[Array], level: float) -> None:
    from matplotlib.patches import Rectangle

    known = {}
    for (row, ours), (place, theirs) in combinations(enumerate(scores), 2):
        known[row, place] = improvement_interval(ours[:, None], theirs[:, None], level)
        known[place, row] = mirrored(known[row, place])
    for row in range(len(scores)):
        for place in range(len(scores)):
            if row == place:
                continue
            found = known[row, place]
            red, green, blue = BLUE if found.value > 0.5 else ORANGE
            shade = (red, green, blue, DEEPEST * abs(2 * found.value - 1))
            panel.add_patch(Rectangle((place - 0.5, row - 0.5), 1, 1, facecolor=shade, linewidth=0))
            sure = decided(found)
            color, weight = (INK, "bold") if sure else (MUTED, "normal")
            panel.text(
                place, row, f"{100 * found.value:.0f}", ha="center", va="center_baseline", fontsize=7.5, color=color, fontweight=weight
            )


def mirrored(found: Interval) -> Interval:
    """The same seen from the other side: what is not a win is a loss, and a tie counts half for each."""
    return replace(found, low=1 - found.high, value=1 - found.value, high=1 - found.low)


def decided(found: Interval) -> bool:
    """Whether the interval leaves out one half; False where there is none."""
    return found.known and not found.holds(0.5)


def _edges(panel: Axes, labels: Sequence[str]) -> None:
    count = len(labels)
    panel.set_xlim(-0.5, count - 0.5)
    panel.set_ylim(count - 0.5, -0.5)
    panel.set_aspect("equal")
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    panel.set_yticks(range(count), labels)
    panel.set_xticks(range(count), labels, rotation=90 if count > 4 else 0)
    panel.tick_params(length=0, pad=2, labelsize=theme.SMALL)
