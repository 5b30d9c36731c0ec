"""The pictures of a report: drawn once, each as PNG and SVG, and as it stands in the page."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bench.report import figures, theme
from bench.report.data import Report
from bench.report.page.elements import Html, element, html
from bench.report.page.places import anchor

LAST = ("aggregates", "effective_weight")  # of those of all boards; the others come by name
CURVES = ("learning_curves", "entropy", "gate", "kl")  # the page draws these itself, on every axis


@dataclass(frozen=True)
class Picture:
    """One picture of a board, or of all boards together."""

    name: str
    board: str  # its name; empty for all boards
    place: str  # its identifier on the page, and the name of its files
    caption: str
    more: str
    svg: str  # as text that can stand in a page
    png: bytes

    @property
    def file(self) -> str:
        """The SVG as a file of its own."""
        return theme.standalone(self.svg)

    def html(self) -> Html:
        """A figure whose text a screen reader finds in its caption."""
        inner = Html(self.svg.replace("<svg", f'<svg role="img" aria-labelledby="caption-{self.place}"', 1))
        caption = element("figcaption", element("strong", _code(self.caption)), " ", _code(self.more), id=f"caption-{self.place}")
        return element("figure", element("div", inner, class_="scroll-inner"), caption, class_="picture", id=f"picture-{self.place}")


def _code(text: str) -> Html:
    """Escaped, with what stands between backticks as code."""
    return Html(re.sub(r"`([^`]+)`", r"<code>\1</code>", html(text)))


@dataclass(frozen=True)
class Missing:
    """A picture that there is not, and why."""

    caption: str
    board: str
    reason: str


Job = tuple[str, int | None]  # a kind of picture, and the place of its board; of all boards where there is none


def jobs(report: Report) -> list[Job]:
    """Every kind of picture of every board, then those of all boards."""
    found: list[Job] = []
    for name in sorted(figures.names(), key=lambda name: (LAST.index(name) if name in LAST else -1, name)):
        found += [(name, i) for i in range(len(report.boards))] if figures.load(name).scope == "board" else [(name, None)]
    return found


def draw(report: Report, job: Job) -> Picture | Missing:
    """One picture in both forms, or why there is none."""
    name, place = job
    kind, board = figures.load(name), None if place is None else report.boards[place]
    figure = kind.draw(report, board)
    title = "" if board is None else board.name
    if figure is None:
        return Missing(kind.caption, title, kind.nothing)
    identity = name if board is None else f"{name}-{anchor(board).removeprefix('board-')}"
    png = theme.image(figure, identity)
    figure.set_layout_engine("none")  # its parts have found their places, which takes as long as all the rest
    return Picture(name, title, identity, kind.caption, kind.more, theme.svg(figure, identity), png)
