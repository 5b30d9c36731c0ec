"""Interim."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from bench.board.groups import Board
from bench.report.data import Report, interval
from bench.report.page.elements import Cell, Column, Html, Table, element, key, number
from bench.report.palette import looks


def summary(report: Report, remarks: Sequence[object]) -> Html:
    return element("section", element("h2", "What the data say"))


def reading(report: Report) -> Html:
    return element("section", element("h2", "How to read this page"), id="reading")


def table(report: Report, board: Board) -> Html:
    scores = report.scores(board)
    drawn = looks([(e.label, e.algorithm) for e in board.entries])
    rows = []
    for rank, e in enumerate(report.ordered(board)):
        s = scores[e.label]
        low, high = interval(s[:, None], 0.95, 2000)
        rows.append(
            [
                Cell([key(drawn[e.label]), e.label]),
                Cell(rank + 1, rank + 1),
                Cell(number(float(s.mean())), float(s.mean())),
                Cell(whisker(float(low[0]), float(s.mean()), float(high[0]), 0, 1)),
                Cell(len(s), len(s)),
            ]
        )
    return Table(
        [Column("entry"), Column("rank", True), Column("score", True), Column("interval"), Column("seeds", True)], rows, "Leaderboard"
    ).html()


def whisker(low: float, value: float, high: float, least: float, most: float) -> Html:
    def place(v: float) -> float:
        return round(4 + 168 * (v - least) / (most - least), 1)

    if numpy.isnan(low):
        low = high = value
    bar = element("line", x1=place(low), x2=place(high), y1=9, y2=9, stroke="currentColor", stroke_width=2)
    return element(
        "svg",
        bar,
        element("circle", cx=place(value), cy=9, r=4, fill="currentColor"),
        class_="whisker",
        viewBox="0 0 176 18",
        preserveAspectRatio="none",
    )
