"""Pictures of the comparison, one a file: the first line of a file's docstring is the caption, `draw` makes the picture.

A file has `SCOPE`, "board" for a picture of one board or "all" for one of all boards together; `NOTHING`, the reason why there may be
nothing to draw; and `draw(report, board, axis)`, which gives None then. `axis` matters to curves alone.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from bench.errors import unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.board.groups import Board
    from bench.report.data import Report


class Draw(Protocol):
    """What a picture's file does."""

    def __call__(self, report: Report, board: Board | None = None, axis: str = "samples") -> Figure | None: ...


@dataclass(frozen=True)
class Drawing:
    """One kind of picture."""

    name: str
    caption: str
    more: str  # what a reader may want to know besides; may be empty
    scope: Literal["board", "all"]
    nothing: str
    draw: Draw


def names() -> list[str]:
    """Every kind of picture, sorted. Imports none."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Drawing:
    """Raises ConfigError for an unknown name."""
    if name not in names():
        raise unknown("picture", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    caption, _, more = (module.__doc__ or "").strip().partition("\n")
    return Drawing(name, caption, " ".join(more.split()), module.SCOPE, module.NOTHING, module.draw)
