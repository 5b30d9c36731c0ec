"""The page put together: one file with everything in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from bench.board.groups import Board
from bench.report.data import Report
from bench.report.page import completions, curves, head, left_out, metrics, payload, reading, standings
from bench.report.page import runs as run_table
from bench.report.page.elements import Html, element
from bench.report.page.entries import Commands, listed
from bench.report.page.pictures import CURVES, Missing, Picture
from bench.report.page.places import anchor
from bench.trials import Trial

SCRIPTS = ("uplot/uPlot.iife.min.js", "page.js", "tables.js", "charts.js", "runs.js", "start.js")
STYLES = ("uplot/uPlot.min.css", "style.css")


def document(report: Report, found: Sequence[Trial], pictures: Sequence[Picture | Missing], known: Commands) -> str:
    """The HTML of the whole report. `found`: every trial read, copies included; `known`: how runs are repeated."""
    entries = listed(report, known)
    lines = run_table.runs(report, entries)
    remarks = left_out.remarks(report, found)
    overall = _shown(pictures, None)
    sections = [
        standings.summary(report),
        *(_board(report, board, i, pictures) for i, board in enumerate(report.boards)),
        element("section", element("h2", "Over all boards"), overall, id="overall") if overall else None,
        left_out.section(remarks),
        run_table.section(lines, report, entries),
        reading.section(),
    ]
    parts = {
        "title": element("title", head.title(report))[7:-8],
        "style": _read(STYLES),
        "head": head.section(report),
        "contents": _contents(report, bool(overall)),
        "main": "\n".join(section for section in sections if section is not None),
        "data": payload.block(report, entries, lines),
        "script": "\n".join(["(() => {", '"use strict";', _read(SCRIPTS[1:]), "})();"]),
        "library": _read(SCRIPTS[:1]),
    }
    return fill((files("bench.report.page") / "static" / "page.html").read_text(encoding="utf-8"), parts)


def fill(template: str, parts: Mapping[str, str]) -> str:
    """Each {{name}} of the template once; what is put in is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _read(names: Sequence[str]) -> str:
    """Our files and the library's, from the installed package."""
    folder = files("bench.report.page") / "static"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _board(report: Report, board: Board, place: int, pictures: Sequence[Picture | Missing]) -> Html:
    parts: list[Any] = [
        element("h2", board.name),
        element("p", head.protocol(board).capitalize() + ".", class_="soft"),
        standings.section(report, board),
        curves.section(report, board, place),
        _shown(pictures, board),
        metrics.section(report, board),
        completions.section(report, board),
    ]
    return element("section", parts, id=anchor(board))


def _shown(pictures: Sequence[Picture | Missing], board: Board | None) -> Html | None:
    """A board's pictures, then in a line each what could not be drawn and why; None where there is neither."""
    own = [one for one in pictures if one.board == ("" if board is None else board.name)]
    made = [one.html() for one in own if isinstance(one, Picture) and one.name not in CURVES]
    missing = [
        element("p", f"Not drawn: {one.caption} There is none, as {one.reason}.", class_="soft") for one in own if isinstance(one, Missing)
    ]
    return element("div", made, missing, class_="pictures") if made or missing else None


def _contents(report: Report, overall: bool) -> Html:
    links = [("#summary", "What the runs say")]
    links += [(f"#{anchor(board)}", board.name) for board in report.boards]
    links += [("#overall", "Over all boards")] if overall else []
    links += [("#left-out", "Not counted"), ("#runs", "Every run"), ("#reading", "How to read this")]
    return element("ul", [element("li", element("a", name, href=target)) for target, name in links])
