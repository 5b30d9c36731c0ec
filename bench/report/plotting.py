"""One kind of picture of a results folder, written to files."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import ConfigError, StoreError, unknown
from bench.report import figures, theme
from bench.report.data import AXES, Report

if TYPE_CHECKING:
    from bench.board.groups import Board


def plot(
    root: Path, name: str, out: Path | None = None, format: str = "", axis: str = "samples", tables: str = "", algorithms: str = ""
) -> tuple[list[Path], list[str]]:
    """The files written, and for each board without anything to draw the reason.

    `out`: where to; a picture of each of several boards gets the board's name put in. `format`: png, svg or pdf; by default what `out`
    ends in, else png. `tables`, `algorithms`: names with commas between them; all by default. Raises ConfigError for an unknown name and
    where there is nothing to draw at all, StoreError where there are no runs or a file cannot be written.
    """
    drawing = figures.load(name)
    if axis not in AXES:
        raise unknown("axis", axis, AXES)
    format = format or (out.suffix.removeprefix(".") if out else "") or "png"
    if format not in theme.FORMATS:
        raise unknown("format", format, theme.FORMATS)
    report = _narrowed(Report.read(root), _listed(tables), _listed(algorithms))
    if not report.boards and name != "effective_weight":
        raise StoreError(f"no runs in {root}; `bench run` or `bench sweep` makes some, --results names another folder")
    of: Sequence[Board | None] = report.boards if drawing.scope == "board" else [None]
    paths, empty = [], []
    for board in of:
        figure = drawing.draw(report, board, axis)
        title = name if board is None else f"{name}-{board.name}"
        if figure is None:
            empty.append(f"{title}: nothing to draw: {drawing.nothing}")
            continue
        paths.append(_place(out, title, format, board.name if board and len(of) > 1 else ""))
        theme.write(figure, paths[-1], title, format)
    if not paths:
        raise ConfigError(f"nothing to draw: {drawing.nothing}")
    return paths, empty


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _narrowed(report: Report, tables: Sequence[str], algorithms: Sequence[str]) -> Report:
    _known("table", tables, {name for board in report.boards for name in (board.table, board.name)})
    _known("algorithm", algorithms, {n for board in report.boards for entry in board.entries for n in (entry.label, entry.algorithm)})
    return report.only(tables, algorithms)


def _known(kind: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown(f"{kind} with runs", name, known)


def _place(out: Path | None, title: str, format: str, board: str) -> Path:
    """`out` with the board's name put in where there are several; by default a file in out/ that is called after the picture."""
    if out is None:
        return Path("out") / f"{slug(title)}.{format}"
    return out.with_name(f"{out.stem}-{slug(board)}.{format}") if board else out.with_suffix(out.suffix or f".{format}")


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-")
