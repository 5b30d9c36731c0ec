"""The leaderboard of a board as the page shows it, and what it comes to in a few sentences."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence

from bench import registry
from bench.board import markdown, words
from bench.board.groups import Board
from bench.board.leaderboard import ALPHA, Row, Table
from bench.report.data import Report
from bench.report.page.elements import Cell, Column, Html, element, key
from bench.report.page.elements import Table as Grid
from bench.report.page.places import anchor
from bench.report.palette import Look, looks

WIDTH, EDGE = 176, 5  # of the little interval pictures, in units of their own
ABOUT = {"tokens": "Tokens generated for training, mean over seeds.", "cpu_seconds": "Processor time of a run, mean over seeds."}


def summary(report: Report) -> Html:
    """What the runs say and could not have said, a paragraph for each board."""
    parts = []
    for board in report.boards:
        found = report.leaderboard(board)
        link = element("a", board.name, href=f"#{anchor(board)}")
        parts.append(element("p", element("strong", link, ". "), " ".join(verdict(found)), class_="verdict"))
    return element("section", element("h2", "What the runs say"), parts, id="summary")


def verdict(found: Table) -> list[str]:
    """Who leads, who does not beat its controls, and what would have been seen: sentences."""
    if not found.rows:
        return ["No run counts yet."]
    ranked = [row for row in found.rows if row.rank is not None]
    if not ranked:
        best = max(found.rows, key=lambda row: -math.inf if math.isnan(row.score.value) else row.score.value)
        held = (
            f"the highest score is that of {best.label}, {words.number(best.score.value)}"
            if not math.isnan(best.score.value)
            else "none has a score"
        )
        return [f"Nothing is ranked, as that takes two entries with two seeds or more; {held}."]
    said = [_lead(max(ranked, key=lambda row: row.score.value), len(ranked)), *_controls(found, ranked)]
    if found.smallest >= 1 and found.board.scaled:
        said.append("With these seeds no difference between two entries could have been shown.")
    elif not math.isnan(found.smallest):
        said.append(f"Two entries less than about {words.number(found.smallest)} apart would mostly have looked alike to these runs.")
    alone = [row.label for row in found.rows if len(row.seeds) == 1]
    return said + ([f"One seed alone, so not ranked: {words.listed(alone)}."] if alone else [])


def _lead(best: Row, ranked: int) -> str:
    score = words.interval(best.score)
    if not best.ties:
        others = "the other one" if ranked == 2 else f"each of the {words.count(ranked - 1, 'other')}"
        return f"{best.label} leads with {score}, better than {others}."
    if len(best.ties) == ranked - 1:
        return f"No entry can be told from any other; the highest score is that of {best.label}, {score}."
    return f"{best.label} has the highest score, {score}, but these runs cannot tell it from {words.listed(best.ties)}."


def _controls(found: Table, ranked: Sequence[Row]) -> list[str]:
    """Entries that are not better than the start model as it was: what they learnt, if anything, does not show."""
    still = next((row for row in ranked if row.algorithm == "untrained"), None)
    if still is None:
        return []
    better = {
        row.label
        for test in found.tests
        for row in ranked
        if still.label in (test.first, test.second)
        and row.label in (test.first, test.second)
        and test.p < ALPHA
        and row.score.value > still.score.value
    }
    short = [row.label for row in ranked if row is not still and row.label not in better]
    return (
        [f"Not shown to be better than the untrained start model: {words.listed(short)}."]
        if short
        else ["Every other entry beats the untrained start model."]
    )


def section(report: Report, board: Board) -> Html | None:
    """The table with what a reader has to know below it; None where no run counts."""
    found = report.leaderboard(board)
    if not found.rows:
        return None
    drawn = looks([(entry.label, entry.algorithm) for entry in board.entries])
    facts = markdown.shown(found)
    columns = [
        Column("entry"),
        Column("rank", number=True, about="1 + the entries that are significantly better, to all less those that are worse"),
        Column("score", number=True, about=f"Mean over seeds of the last held-out evaluation: {report.score_text(board)}"),
        Column(f"{100 * (1 - ALPHA):g} % interval", number=True),
        Column("", sorts=False),
        Column("seeds", number=True),
        *(Column(title, number=True, about=about(name)) for title, name in facts.items()),
        Column("hash", about="Of the bytes of the curves and item scores of its runs"),
    ]
    ends = _ends(found.rows)
    rows = [
        [*_first(row, drawn[row.label], ends), *(_fact(row, name) for name in facts.values()), Cell(element("code", row.hash))]
        for row in found.rows
    ]
    below = element("ul", [element("li", said) for said in words.below(found)], class_="soft")
    return Html(Grid(columns, rows, words.title(found)).html() + below)


def _first(row: Row, look: Look, ends: tuple[float, float]) -> list[Cell]:
    score, control = row.score, element("small", " control") if row.control else None
    bounds = f"{words.number(score.low)} to {words.number(score.high)}" if score.known else ""
    tied = f"Cannot be told from {words.listed(row.ties)}" if row.ties else None
    rank = Cell(element("span", row.rank or "", title=tied), math.nan if row.rank is None else row.rank.low)
    return [
        Cell([key(look), row.label, control]),
        rank,
        Cell(words.number(score.value), score.value),
        Cell(bounds, score.low),
        Cell(whisker(row, look, ends)),
        Cell(words.seeds_of(row), len(row.seeds)),
    ]


def _fact(row: Row, name: str) -> Cell:
    held = row.facts.get(name)
    return Cell("", math.nan) if held is None else Cell(str(held), held.mean)


def about(name: str) -> str:
    """What a column beside the score is, from the metric itself."""
    known = ABOUT.get(name)
    return known or (inspect.getdoc(registry.load("metrics", name)) or "").partition("\n")[0]


def _ends(rows: Sequence[Row]) -> tuple[float, float]:
    """From the lowest to the highest bound of a board."""
    values = [v for row in rows for v in (row.score.low, row.score.value, row.score.high) if not math.isnan(v)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def whisker(row: Row, look: Look, ends: tuple[float, float]) -> Html | None:
    """Score and interval as a dot on a line, on one scale for the whole board."""
    if math.isnan(row.score.value):
        return None

    def place(value: float) -> float:
        return round(EDGE + (WIDTH - 2 * EDGE) * (value - ends[0]) / (ends[1] - ends[0]), 1)

    ground = element("line", x1=0, x2=WIDTH, y1=9, y2=9, class_="ground")
    held = row.score.known
    bar = (
        element("line", x1=place(row.score.low), x2=place(row.score.high), y1=9, y2=9, stroke=look.color, stroke_width=3) if held else None
    )
    dot = element("circle", cx=place(row.score.value), cy=9, r=4.5, fill=look.color)
    return element("svg", ground, bar, dot, class_="whisker", viewBox=f"0 0 {WIDTH} 18", aria_hidden="true")
