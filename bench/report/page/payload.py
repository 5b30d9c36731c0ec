"""What the page's scripts draw from, as one block of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import orjson

from bench.board.groups import Board
from bench.report.data import Array, Band, Report
from bench.report.page.curves import PANELS, axes
from bench.report.page.entries import Listed
from bench.report.page.runs import COLUMNS, Runs

POINTS = 80  # of one curve, at most; the picture is about a thousand pixels wide and holds twenty of them
TOTAL = 1_500_000  # numbers in all curves together: with thousands of entries each gets fewer points


def block(report: Report, listed: Sequence[Listed], runs: Runs) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    pool = Pool()
    places = {(one.board.name, one.entry.key): i for i, one in enumerate(listed) if one.entry is not None and one.board is not None}
    curves = sum(len(board.entries) * len(report.axes(board)) * len(PANELS) for board in report.boards)
    points = max(12, min(POINTS, TOTAL // max(1, 4 * curves)))
    held = {
        "boards": [_board(report, board, places, pool, points) for board in report.boards],
        "entries": [one.facts() for one in listed],
        "columns": [{"name": c.name, "kind": c.kind, "exact": c.exact} for c in COLUMNS],
        "runs": runs.rows,
        "extras": runs.extras,
        "provenance": runs.provenance,
        "arrays": pool.arrays,
    }
    return script_safe(orjson.dumps(held, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode())


def script_safe(text: str) -> str:
    """JSON without the characters that could end a script element or a line of a script."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


class Pool:
    """Each array once: many curves share an axis."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self._known: dict[bytes, int] = {}

    def place(self, values: Array) -> int:
        """Where an equal array lies."""
        rounded = significant(values)
        data = rounded.tobytes()
        if data not in self._known:
            self._known[data] = len(self.arrays)
            self.arrays.append(rounded)
        return self._known[data]


def significant(values: Array, digits: int = 4) -> Array:
    """Rounded to so many significant digits; NaN stays, -0 becomes 0."""
    with numpy.errstate(divide="ignore", invalid="ignore"):
        power = 10.0 ** (digits - 1 - numpy.floor(numpy.log10(numpy.abs(values))))
        rounded = numpy.round(values * power) / power
    return numpy.ascontiguousarray(numpy.where((values == 0) | ~numpy.isfinite(values), numpy.where(values == 0, 0.0, values), rounded))


def _board(report: Report, board: Board, places: Mapping[tuple[str, str], int], pool: Pool, points: int) -> dict[str, Any]:
    order = {entry.key: rank for rank, entry in enumerate(report.ordered(board))}
    entries = [entry for entry in board.entries if entry.key in order]
    known = axes(report, board)
    panels: dict[str, dict[int, dict[str, list[int | None]]]] = {}
    for panel in PANELS:
        lines = {
            places[board.name, entry.key]: {
                key: _line(band, pool, points) for key, _ in known if (band := report.curve(board, entry, panel.columns, key)) is not None
            }
            for entry in entries
        }
        panels[panel.key] = {place: held for place, held in lines.items() if held}
    return {
        "name": board.name,
        "unit": board.unit,
        "axes": [{"key": key, "title": title} for key, title in known],
        "entries": [places[board.name, entry.key] for entry in sorted(entries, key=lambda entry: order[entry.key])],
        "panels": panels,
    }


def _line(band: Band, pool: Pool, points: int) -> list[int | None]:
    """Places of x, value, low and high; no bounds where one seed is all there is."""
    count = len(band.x)
    kept = numpy.unique(numpy.linspace(0, count - 1, min(count, points)).round().astype(int))
    bounds = None if numpy.isnan(band.low).all() else (band.low[kept], band.high[kept])
    x, value = pool.place(band.x[kept]), pool.place(band.value[kept])
    return [x, value, *((pool.place(bounds[0]), pool.place(bounds[1])) if bounds else (None, None))]
