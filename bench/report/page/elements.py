"""HTML from text that may be hostile: whatever comes from a run is escaped here, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from bench.report.palette import Look


class Html(str):
    """Text that is HTML already; all other text is escaped where it is put into an element."""


def element(tag: str, *children: object, **attributes: object) -> Html:
    """`<tag ...>children</tag>`. Children are escaped unless they are Html; sequences are joined, None is left out.

    A trailing underscore of an attribute goes, other underscores become hyphens; False and None leave the attribute out, True leaves its
    value out.
    """
    held = "".join(_attribute(name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    inner = "".join(map(html, children))
    return Html(f"<{tag}{held}>{inner}" if tag in ("input", "br") else f"<{tag}{held}>{inner}</{tag}>")


def html(child: object) -> Html:
    """Anything as HTML."""
    if child is None:
        return Html("")
    if isinstance(child, Html):
        return child
    if isinstance(child, Iterable) and not isinstance(child, str):
        return Html("".join(map(html, child)))
    return Html(escape(visible(str(child))))


def visible(text: str) -> str:
    """Control characters that no page may hold, made visible."""
    return "".join(c if c in "\n\t" or (c >= " " and not 0x7F <= ord(c) <= 0x9F and not 0xD800 <= ord(c) <= 0xDFFF) else "�" for c in text)


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(visible(str(value)))}"'


@dataclass(frozen=True)
class Cell:
    """One cell of a table: what is shown, and the number it is sorted by."""

    shown: object
    value: float | None = None  # None: it is sorted by its text
    wide: bool = False  # a sentence rather than a word


@dataclass(frozen=True)
class Column:
    """The head of a column."""

    title: str
    number: bool = False
    about: str = ""  # shown where the pointer rests
    sorts: bool = True


@dataclass(frozen=True)
class Table:
    """A table that sorts itself where scripts run."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]] = field(default_factory=tuple)
    caption: str = ""
    identity: str | None = None

    def html(self) -> Html:
        heads = [element("th", self._head(column), scope="col", class_=_kind(column)) for column in self.columns]
        body = [element("tr", [self._cell(i, cell) for i, cell in enumerate(row)]) for row in self.rows]
        caption = element("caption", self.caption) if self.caption else None
        inner = element(
            "table", caption, element("thead", element("tr", heads)), element("tbody", body), class_="sorted" if self.rows else None
        )
        return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=self.caption or None, id=self.identity)

    def _head(self, column: Column) -> object:
        return element("button", column.title, type="button", class_="sort", title=column.about or None) if column.sorts else column.title

    def _cell(self, place: int, cell: Cell) -> Html:
        value = None if cell.value is None else "" if math.isnan(cell.value) else repr(float(cell.value))
        kind = "wide" if cell.wide else _kind(self.columns[place])
        return element("th" if place == 0 else "td", cell.shown, scope="row" if place == 0 else None, class_=kind, data_value=value)


def _kind(column: Column) -> str | None:
    return "n" if column.number else None


def key(look: Look) -> Html:
    """A short stroke in an algorithm's colour and dash, as every picture draws it."""
    dash = " ".join(f"{1.6 * part:g}" for part in look.dash) or None
    width = 1.6 if look.control else 2.4
    line = element("line", x1=0, y1=5, x2=28, y2=5, stroke=look.color, stroke_width=width, stroke_dasharray=dash)
    return element("svg", line, viewBox="0 0 28 10", class_="key", aria_hidden="true")


def number(value: float | None, digits: int = 3) -> str:
    """0.8125 as "0.812"; an empty text for what is undefined; 12345.6 as "12,346"."""
    if value is None or math.isnan(value):
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits if abs(value) < 10 else 1}f}"
