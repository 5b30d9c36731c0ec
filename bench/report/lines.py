"""Curves over seeds with their names beside their ends: what every picture of curves is drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from bench.board.groups import Board
from bench.report.axes import number, settle
from bench.report.data import Array, Band, Report
from bench.report.palette import Look, looks
from bench.report.theme import FAINT, INK, MUTED, PAPER, SMALL, heading, sheet, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, THIN = 1.7, 1.0  # points
MANY = 8  # entries from which on bands are fainter


@dataclass(frozen=True)
class Line:
    """One entry's curve as it is drawn."""

    label: str
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
    found = [(entry.label, report.curve(board, entry, columns, axis)) for entry in report.ordered(board)]
    return [Line(label, own[label], band) for label, band in found if band is not None]


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
            _bounds(row, panel)
        figure.draw_without_rendering()  # heights must be settled before names can be placed
        for row, (_, lines) in zip(rows, found, strict=True):
            names(figure, row, lines)
    return figure


def _bounds(row: Axes, panel: Panel) -> None:
    if panel.reference is not None:
        row.axhline(panel.reference, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1.5)
    if panel.floor is not None and row.get_ylim()[0] < panel.floor:
        row.set_ylim(bottom=panel.floor, top=max(row.get_ylim()[1], 10 * panel.floor))


def draw(axis: Axes, lines: Sequence[Line], end: float) -> None:
    """Curves with their intervals up to `end`; one whose budget was not spent on this axis goes on dotted from where it ended."""
    for rank, line in enumerate(lines):
        band, look = line.band, line.look
        width, above = (THIN, 2.0) if look.control else (LINE, 3.0 + (len(lines) - rank) / 100)
        if not look.control and len(band.x) > 1:
            axis.fill_between(band.x, band.low, band.high, color=look.color, alpha=0.08 if len(lines) > MANY else 0.16, linewidth=0)
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


def marked(look: Look, size: float = 4.6) -> dict[str, Any]:
    """A marker that stands out from the lines that cross it."""
    edge: dict[str, Any] = {"markeredgewidth": 0.9} if look.control else {"markeredgewidth": 0.4, "markeredgecolor": PAPER}
    return {"marker": look.marker, "markersize": size} | edge


def names(figure: Figure, axis: Axes, lines: Sequence[Line]) -> None:
    """Right of the axis, top down by last value: a thread from the curve's end, its dash and marker, the value and the name."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    height = axis.get_window_extent().height / figure.dpi * 72
    size = min(SMALL, 0.78 * height / len(lines))
    ends = numpy.clip([_height(axis, line) for line in lines], 0, 1)
    places = spread(ends, 1.3 * size / height)
    inches = figure.dpi_scale_trans + ScaledTranslation(1, 0, axis.transAxes)  # type: ignore[arg-type]
    beside = blended_transform_factory(inches, axis.transAxes)
    numbers = [number(line.band.last) for line in lines]
    width = 0.55 + max(map(len, numbers)) * size * 0.0093
    words: dict[str, Any] = {"transform": beside, "fontsize": size, "va": "center_baseline"}
    for line, end, place, text in zip(lines, ends, places, numbers, strict=True):
        look = line.look
        held: dict[str, Any] = {"transform": beside, "clip_on": False, "color": look.color}
        axis.plot([0.0, 0.14], [end, place], linewidth=0.6, alpha=0.7, **held)
        axis.plot([0.17, 0.49], [place, place], linewidth=THIN if look.control else LINE, linestyle=look.line, **held)
        axis.plot([0.33], [place], **marked(look, 0.58 * size), **held)
        axis.text(width, place, text, color=MUTED, ha="right", **words)
        axis.text(width + 0.07, place, line.label, color=INK, **words)


def _height(axis: Axes, line: Line) -> float:
    """Where a curve ends, as a share of the axis's height; 0 for what a logarithmic axis cannot show."""
    where = axis.transData.transform((line.band.x[-1], line.band.last))
    height = float(axis.transAxes.inverted().transform(where)[1])
    return height if numpy.isfinite(height) else 0.0


def spread(wanted: Array, gap: float) -> Array:
    """Heights near the wanted ones, in their order, at least `gap` apart, and within 0..1 where they fit: least squares by pooling."""
    order = numpy.argsort(wanted, kind="stable")
    offset = gap * numpy.arange(len(wanted))
    blocks: list[tuple[float, int]] = []  # mean of what is wanted less its offset, and of how many
    for value in wanted[order] - offset:
        block = (float(value), 1)
        while blocks and blocks[-1][0] > block[0]:
            mean, count = blocks.pop()
            block = ((mean * count + block[0] * block[1]) / (count + block[1]), count + block[1])
        blocks.append(block)
    flat = numpy.repeat([mean for mean, _ in blocks], [count for _, count in blocks])
    found = numpy.empty(len(wanted))
    found[order] = numpy.clip(flat, 0.0, max(0.0, 1 - offset[-1])) + offset
    return found
