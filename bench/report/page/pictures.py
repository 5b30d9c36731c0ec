"""The pictures of a report: drawn once, each as PNG and SVG, and as it stands in the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bench.board.groups import Board
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
    board: Board | None
    caption: str
    more: str
    svg: str  # as text that can stand in a page
    png: bytes

    @property
    def place(self) -> str:
        """Its identifier on the page, and the name of its files."""
        return self.name if self.board is None else f"{self.name}-{anchor(self.board).removeprefix('board-')}"

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
    board: Board | None
    reason: str


def drawn(report: Report) -> Iterator[Picture | Missing]:
    """Every kind of picture of every board, then those of all boards."""
    for name in sorted(figures.names(), key=lambda name: (LAST.index(name) if name in LAST else -1, name)):
        kind = figures.load(name)
        for board in report.boards if kind.scope == "board" else (None,):
            figure = kind.draw(report, board)
            if figure is None:
                yield Missing(kind.caption, board, kind.nothing)
                continue
            made = Picture(name, board, kind.caption, kind.more, "", b"")
            yield Picture(name, board, kind.caption, kind.more, theme.svg(figure, made.place), theme.image(figure, made.place))
