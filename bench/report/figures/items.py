"""Which held-out problems each entry solves: a column each, easiest first, the darker the more of its answers over all seeds are right.

What all rows share is the problems' own difficulty; what they do not is what paired comparisons are made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from bench.board.groups import Board
from bench.board.scores import scores
from bench.report import theme
from bench.report.axes import number
from bench.report.data import Array, Report
from bench.report.palette import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCOPE = "board"
NOTHING = "fewer than two entries of this board kept the scores of the same held-out problems, as shares of right answers"
SHADE = (0.16, 0.44, 0.82)


def draw(report: Report, board: Board | None = None, axis: str = "samples") -> Figure | None:
    """None where `NOTHING` applies."""
    found = {} if board is None else solved(report, board)
    if board is None or len(found) < 2:
        return None
    with theme.themed():
        figure = theme.sheet(7.6, 0.2 * len(found) + 1.3)
        panel = figure.subplots()
        rows = numpy.array(list(found.values()))
        rows = rows[:, numpy.argsort(-rows.mean(0), kind="stable")]
        shades = numpy.ones((*rows.shape, 4)) * (*SHADE, 1.0)
        shades[..., 3] = rows
        panel.imshow(shades, aspect="auto", interpolation="nearest")
        theme.heading(
            panel,
            f"{board.name}: held-out problems solved",
            "share of right answers: empty none, full blue all; on the right the mean; controls in italics",
        )
        _edges(panel, list(found), rows)
        panel.set_xlabel(f"{rows.shape[1]} problems, easiest first")
    return figure


def solved(report: Report, board: Board) -> dict[str, Array]:
    """(K,) means over seeds of each entry's item scores, best entry first; of the entries that have the problems most of them have."""
    known = [(entry, scores(entry, board.scaled)) for entry in report.ordered(board)]
    kept = [(entry, one.key, one.items) for entry, one in known if one.items is not None and 0 <= one.items.min() <= one.items.max() <= 1]
    keys = [key for _, key, _ in kept]
    most = max(sorted(set(keys)), key=keys.count, default="")
    return {entry.label: items.mean(0) for entry, key, items in kept if key == most}


def _edges(panel: Axes, labels: list[str], rows: Array) -> None:
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    panel.set_xticks([])
    panel.set_yticks(range(len(labels)), labels)
    panel.tick_params(labelsize=theme.SMALL)
    for place, (label, row) in enumerate(zip(labels, rows, strict=True)):
        panel.get_yticklabels()[place].set_fontstyle("italic" if look(label.partition(" ")[0]).control else "normal")
        beside = {"xy": (1, place), "xycoords": ("axes fraction", "data"), "xytext": (4, 0), "textcoords": "offset points"}
        panel.annotate(number(float(row.mean())), **beside, va="center_baseline", fontsize=theme.SMALL, color=theme.MUTED)  # type: ignore[arg-type]
