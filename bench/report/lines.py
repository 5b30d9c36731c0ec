"""Curves over seeds with their names beside their ends: what every picture of curves is drawn with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from bench.board.groups import Board
from bench.report.axes import ROUNDING, settle
from bench.report.data import Band, Report
from bench.report.names import LINE, THIN, at_ends, marked, titled
from bench.report.palette import Look, looks
from bench.report.theme import FAINT, heading, sheet, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 8  # entries from which on bands are fainter
REACH = 0.25  # of the curves' range, by which intervals may stretch the axis


@dataclass(frozen=True)
class Line:
    """One entry's curve as it is drawn."""

    label: str
    name: str  # the label, with how many seeds diverged
    look: Look
    band: Band


@dataclass(frozen=True)
class Panel:
    """One quantity against what was spent."""

    title: str
    unit: str
    columns: tuple[str, ...]  # the first of these that an entry's runs have
    log: bool = False
    reference: float | None = None  # drawn dashed; the unit says what it is
    floor: float | None = None  # lowest value there can be


def of(report: Report, board: Board, columns: Sequence[str], axis: str) -> list[Line]:
    """The curves of a board's entries that have these columns, best final score first."""
    own = looks([(entry.label, entry.algorithm) for entry in board.entries])
    found = [(entry, report.curve(board, entry, columns, axis)) for entry in report.ordered(board)]
    return [Line(entry.label, titled(entry), own[entry.label], band) for entry, band in found if band is not None]


def stack(report: Report, board: Board | None, axis: str, *panels: Panel) -> Figure | None:
    """One panel above another, each with the curves that have its column; None where no panel has one."""
    if board is None:
        return None
    found = [(panel, lines) for panel in panels if (lines := of(report, board, panel.columns, axis))]
    if not found:
        return None
    end = max(line.band.x[-1] for _, lines in found for line in lines)
    with themed():
        heights = [max(3.0 if len(found) > 1 else 3.6, 0.165 * len(lines) + 0.5) for _, lines in found]
        figure = sheet(7.6, sum(heights) + 0.7)
        rows = figure.subplots(len(found), squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for row, (panel, _) in zip(rows, found, strict=True):
            heading(row, f"{board.name}: {panel.title}" if row is rows[0] else panel.title, panel.unit)
            if panel.log:
                row.set_yscale("log", nonpositive="mask")
        settle(rows[-1], board, axis, report.counted(board))
        for row, (panel, lines) in zip(rows, found, strict=True):
            draw(row, lines, end)
            _bounds(row, panel, lines)
        figure.draw_without_rendering()  # heights must be settled before names can be placed
        for row, (_, lines) in zip(rows, found, strict=True):
            at_ends(figure, row, [(line.name, line.look, line.band.x[-1], line.band.last) for line in lines])
    return figure


def _bounds(row: Axes, panel: Panel, lines: Sequence[Line]) -> None:
    """The curves decide how far the axis reaches; the intervals of few seeds may leave it."""
    if panel.reference is not None:
        row.axhline(panel.reference, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
    ends = [end for line in lines for end in (line.band.value.min(), line.band.value.max())]
    ends += [] if panel.reference is None else [panel.reference]
    if panel.log:
        least = panel.floor or min((end for end in ends if end > 0), default=1e-9)
        low, high = math.log10(max(min(ends), least)), math.log10(max(*ends, 10 * least))
        row.set_ylim(max(10 ** (low - 0.05 * (high - low)), least), 10 ** (high + 0.1 * (high - low)))
        return
    low, high = min(ends), max(ends)
    room = (high - low) or abs(high) or 1.0
    below = [line.band.low for line in lines if not line.look.control]
    above = [line.band.high for line in lines if not line.look.control]
    low = max(min([low, *(numpy.nanmin(part) for part in below if not numpy.isnan(part).all())]), low - REACH * room) - 0.04 * room
    high = min(max([high, *(numpy.nanmax(part) for part in above if not numpy.isnan(part).all())]), high + REACH * room) + 0.04 * room
    row.set_ylim(low if panel.floor is None else max(low, panel.floor), high)


def draw(axis: Axes, lines: Sequence[Line], end: float) -> None:
    """Curves with their intervals up to `end`; one whose budget was not spent on this axis goes on dotted from where it ended."""
    for rank, line in enumerate(lines):
        band, look = line.band, line.look
        width, above = (THIN, 2.0) if look.control else (LINE, 3.0 + (len(lines) - rank) / 100)
        if not look.control and len(band.x) > 1:
            shown = band.low > (ROUNDING if axis.get_yscale() == "log" else -math.inf)
            axis.fill_between(
                band.x, band.low, band.high, where=shown, color=look.color, alpha=0.08 if len(lines) > MANY else 0.16, linewidth=0
            )
        every = max(1, round(len(band.x) / 10))
        axis.plot(
            band.x,
            band.value,
            color=look.color,
            linestyle=look.line,
            linewidth=width,
            markevery=(rank % every, every) if len(band.x) > 1 else 1,
            zorder=above,
            label=line.label,
            **marked(look),
        )
        if band.x[-1] < end:
            axis.plot([band.x[-1], end], [band.last] * 2, color=look.color, linewidth=0.8, linestyle=(0, (1, 3)), zorder=1)
    axis.set_xlim(-0.015 * end, end * 1.001 or 1.0)
