"""Deepest fall below the best score so far, against the final score: steady and good is at the lower right. Bars: intervals of both.

The fall is the mean over seeds of the metric maximum_drawdown, with Student's interval; the score's interval is the leaderboard's. Seeds
that diverged count in the score alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy

from bench.board.groups import Board, Entry
from bench.report import names, theme
from bench.report.axes import number
from bench.report.data import Report
from bench.report.palette import Look, looks
from bench.stats.intervals import Interval
from bench.stats.two_level import score_of_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCOPE = "board"
NOTHING = "no entry of this board has a final score and two evaluations"
METRIC = "maximum_drawdown"


class Point(NamedTuple):
    """One entry."""

    label: str
    score: Interval
    fall: Interval


def draw(report: Report, board: Board | None = None, axis: str = "samples") -> Figure | None:
    """None where `NOTHING` applies."""
    if board is None:
        return None
    own = looks([(entry.label, entry.algorithm) for entry in board.entries])
    rows = {row.label: row.score for row in report.leaderboard(board).rows}
    found = [Point(entry.label, rows[entry.label], fall) for entry in report.ordered(board) if (fall := falls(entry, report.level))]
    found = [one for one in found if not numpy.isnan(one.score.value)]
    if not found:
        return None
    rivals = [one for one in found if not own[one.label].control]
    closer = len(rivals) > 1 and crowded(rivals, found)
    with theme.themed():
        figure = theme.sheet(9.6 if closer else 7.2, max(3.8, 0.165 * len(found) + 1.1))
        panels = figure.subplots(1, 1 + closer, squeeze=False)[0]
        theme.heading(panels[0], f"{board.name}: stability against score", f"{report.score_text(board)}\n{report.counted(board)}")
        if closer:
            theme.heading(panels[1], "without controls", "the same, closer")
        for panel, shown in zip(panels, (found, rivals), strict=False):
            for label, score, fall in shown:
                _point(panel, own[label], score, fall)
            panel.set_xlabel("final score")
        panels[0].set_ylabel("deepest fall below the best so far")
        figure.draw_without_rendering()
        diverged = {entry.label: names.titled(entry) for entry in board.entries}
        names.in_order(figure, panels[-1], [(diverged[label], own[label], number(score.value)) for label, score, _ in found])
    return figure


def crowded(rivals: Sequence[Point], found: Sequence[Point]) -> bool:
    """Whether some points take up less than a third of all points' width or height."""
    scores, falls = ([[getattr(one, name).value for one in points] for points in (rivals, found)] for name in ("score", "fall"))
    return any(float(numpy.ptp(own)) < float(numpy.ptp(whole)) / 3 for own, whole in (scores, falls))


def falls(entry: Entry, level: float) -> Interval | None:
    """The mean drawdown of the seeds that did not diverge; None where there is none."""
    from bench import registry

    metric = registry.load("metrics", METRIC)()
    values = [float(metric(trial.curve)) for trial in entry.trials if not trial.diverged]
    known = numpy.array([value for value in values if not numpy.isnan(value)])
    found = score_of_seeds(known).interval(level) if len(known) else None
    return found and replace(found, low=max(found.low, 0.0))  # no fall is less than none


def _point(panel: Axes, own: Look, score: Interval, fall: Interval) -> None:
    above = 2 if own.control else 3
    if score.known:
        panel.plot([score.low, score.high], [fall.value] * 2, color=own.color, linewidth=1, alpha=0.55, zorder=above)
    if fall.known:
        panel.plot([score.value] * 2, [fall.low, fall.high], color=own.color, linewidth=1, alpha=0.55, zorder=above)
    panel.plot([score.value], [fall.value], color=own.color, linestyle="none", zorder=above + 0.5, **names.marked(own, 6.5))
