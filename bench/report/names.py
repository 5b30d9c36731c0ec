"""Names right of a panel, each with its dash, its marker and a value, so that nothing has to be looked up in a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from bench.board.groups import Entry
from bench.report.axes import number
from bench.report.data import Array
from bench.report.palette import Look
from bench.report.theme import INK, MUTED, PAPER, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

LINE, THIN = 1.7, 1.0  # points
LEADING = 1.3  # height of a line of names, in multiples of the letters


def titled(entry: Entry) -> str:
    """An entry's label, with how many of its seeds diverged."""
    return f"{entry.label} ({entry.diverged} diverged)" if entry.diverged else entry.label


def marked(look: Look, size: float = 4.6) -> dict[str, Any]:
    """A marker that stands out from the lines that cross it, for `Axes.plot`."""
    size *= 1.4 if look.marker == "*" else 1  # its points reach as far as others' edges
    edge: dict[str, Any] = {"markeredgewidth": 0.9} if look.control else {"markeredgewidth": 0.4, "markeredgecolor": PAPER}
    return {"marker": look.marker, "markersize": size} | edge


def at_ends(figure: Figure, axis: Axes, ends: Sequence[tuple[str, Look, float, float]]) -> None:
    """Names (label, look, x, y) beside the ends of curves, in the order of y, each tied to its end by a thread.

    The axis must be settled: its limits, and its height on the sheet.
    """
    size = _size(figure, axis, len(ends))
    heights = numpy.array([_height(axis, x, y) for _, _, x, y in ends])
    places = spread(heights, LEADING * size / _points(figure, axis))
    _column(figure, axis, [(label, look, number(y), float(place)) for (label, look, _, y), place in zip(ends, places, strict=True)], size)
    beside = _beside(figure, axis)
    for (_, look, _, _), height, place in zip(ends, heights, places, strict=True):
        axis.plot([0.0, 0.14], [height, place], color=look.color, linewidth=0.6, alpha=0.7, transform=beside, clip_on=False)


def in_order(figure: Figure, axis: Axes, rows: Sequence[tuple[str, Look, str]]) -> None:
    """Names (label, look, value) from the axis's top down, as they come."""
    size = _size(figure, axis, len(rows))
    step = LEADING * size / _points(figure, axis)
    _column(figure, axis, [(*row, 1 - (place + 0.5) * step) for place, row in enumerate(rows)], size)


def _column(figure: Figure, axis: Axes, rows: Sequence[tuple[str, Look, str, float]], size: float) -> None:
    beside = _beside(figure, axis)
    width = 0.55 + max(len(text) for _, _, text, _ in rows) * size * 0.0093
    words: dict[str, Any] = {"transform": beside, "fontsize": size, "va": "center_baseline"}
    for label, look, text, place in rows:
        held: dict[str, Any] = {"transform": beside, "clip_on": False, "color": look.color}
        axis.plot([0.17, 0.49], [place, place], linewidth=THIN if look.control else LINE, linestyle=look.line, **held)
        axis.plot([0.33], [place], **marked(look, 0.58 * size), **held)
        axis.text(width, place, text, color=MUTED, ha="right", **words)
        axis.text(width + 0.07, place, label, color=INK, **words)


def _beside(figure: Figure, axis: Axes) -> Transform:
    """Inches right of the axis, and shares of its height."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    inches = figure.dpi_scale_trans + ScaledTranslation(1, 0, axis.transAxes)  # type: ignore[arg-type]
    return blended_transform_factory(inches, axis.transAxes)


def _points(figure: Figure, axis: Axes) -> float:
    """The axis's height."""
    return axis.get_window_extent().height / figure.dpi * 72


def _size(figure: Figure, axis: Axes, names: int) -> float:
    """Letters that so many names fit in beside the axis."""
    return min(SMALL, _points(figure, axis) / LEADING / names)


def _height(axis: Axes, x: float, y: float) -> float:
    """Where a point lies, as a share of the axis's height; 0 for what a logarithmic axis cannot show."""
    height = float(axis.transAxes.inverted().transform(axis.transData.transform((x, y)))[1])
    return min(max(height, 0.0), 1.0) if numpy.isfinite(height) else 0.0


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
