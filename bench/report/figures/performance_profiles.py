"""Share of runs that score above each threshold, over all boards of a kind: an entry whose curve lies above another's is better everywhere.

Tasks weigh alike (Agarwal et al. 2021); bands are Wilson's, for each threshold by itself, and left out where there are many entries.
Names are in order of the mean score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from bench.board.groups import Board
from bench.report import names, theme
from bench.report.axes import number
from bench.report.data import Group, Report
from bench.stats.shares import profile_band

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCOPE = "all"
NOTHING = "no board has scores on a common scale of two entries or more"
THRESHOLDS = 301
BANDED = 4  # entries up to which bands can be told apart


def draw(report: Report, board: Board | None = None, axis: str = "samples") -> Figure | None:
    """Of one board where one is given, else of every kind of boards. None where `NOTHING` applies."""
    groups = report.groups(board)
    if not groups:
        return None
    heights = [max(2.7, 0.165 * len(group.scores) + 0.5) for group in groups]
    with theme.themed():
        figure = theme.sheet(7.6, sum(heights) + 0.5)
        rows = figure.subplots(len(groups), squeeze=False, height_ratios=heights)[:, 0]
        for row, group in zip(rows, groups, strict=True):
            _curves(row, group, report)
        rows[-1].set_xlabel("score")
        figure.draw_without_rendering()
        for row, group in zip(rows, groups, strict=True):
            rank = sorted(group.scores, key=lambda label: -group.mean(label))
            names.in_order(figure, row, [(label, group.looks[label], number(group.mean(label))) for label in rank])
    return figure


def _curves(axis: Axes, group: Group, report: Report) -> None:
    every = numpy.concatenate([task for tasks in group.scores.values() for task in tasks])
    pad = 0.03 * max(float(numpy.ptp(every)), 0.1)
    thresholds = numpy.linspace(every.min() - pad, every.max() + pad, THRESHOLDS)
    bands = len(group.scores) <= BANDED
    unit = f"share of runs above the threshold{f', {report.level:.0%} bands over seeds' if bands else ''}"
    theme.heading(axis, group.title, unit)
    for label, tasks in group.scores.items():
        look = group.looks[label]
        low, share, high = profile_band(tasks, thresholds, report.level)
        if bands and not look.control:
            axis.fill_between(thresholds, low, high, color=look.color, alpha=0.13, linewidth=0)
        width = names.THIN if look.control else names.LINE
        axis.plot(thresholds, share, color=look.color, linestyle=look.line, linewidth=width, label=label, zorder=2 if look.control else 3)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlim(thresholds[0], thresholds[-1])
