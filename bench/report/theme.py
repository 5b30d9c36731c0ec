"""How pictures look and how they are written: the same bytes for the same numbers, on white paper and on a dark page alike.

SVG has a transparent ground, letters as paths (no font to fetch, the same width everywhere) and two colours that follow the page:
ink becomes `currentColor`, paper becomes `var(--paper)`. Greys are ink with less opacity, so they follow, too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PAPER = "#2b2b2b", "#fefefe"
MUTED, FAINT, GRID = INK + "a6", INK + "66", INK + "1f"  # ink at 65, 40 and 12 percent
SMALL = 8.0  # points
FORMATS = ("png", "svg", "pdf")
STYLE = {
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
SETTINGS: dict[Any, Any] = {
    "axes.labelsize": 9,
    "axes.titlesize": 10.5,
    "figure.dpi": 150,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.linewidth": 0.8,
    "path.simplify": False,
    "savefig.facecolor": "none",
    "svg.fonttype": "path",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}
ALONE = f"<style>svg{{color:{INK};--paper:#fff}}@media(prefers-color-scheme:dark){{svg{{color:#e4e4e4;--paper:#16181d}}}}</style>"


@contextmanager
def themed() -> Iterator[None]:
    """Within it, whatever is drawn has this look; the global style is as before afterwards."""
    import seaborn
    from matplotlib import rc_context

    with seaborn.axes_style("whitegrid", STYLE), rc_context(SETTINGS):
        yield


def sheet(width: float, height: float) -> Figure:
    """An empty figure of so many inches whose parts make room for each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.04)  # type: ignore[call-arg, union-attr]
    return figure


def heading(axis: Axes, title: str, unit: str = "") -> None:
    """The panel's name; below it, in smaller letters, what its numbers are: lines of a text with line breaks."""
    lines = unit.count("\n") + 1 if unit else 0
    axis.set_title(title, loc="left", fontweight="bold", pad=6 + 1.35 * SMALL * lines)
    place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 5), "textcoords": "offset points"}
    axis.annotate(unit, **place, fontsize=SMALL, color=MUTED, va="bottom", annotation_clip=False, in_layout=False)  # type: ignore[arg-type]
    axis.tick_params(length=0)


def svg(figure: Figure, name: str, alone: bool = False) -> str:
    """The picture as text that can stand in a page beside others: `name` goes before each of its identifiers.

    `alone`: as a file of its own, which brings the two colours with it.
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    with themed(), rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()[buffer.getvalue().index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = text.replace(INK, "currentColor").replace(PAPER, "var(--paper, #fff)")
    return standalone(text) if alone else text


def standalone(text: str) -> str:
    """A picture of a page as a file of its own."""
    return '<?xml version="1.0" encoding="utf-8"?>\n' + text.replace(">", f">{ALONE}", 1)


def image(figure: Figure, name: str, format: str = "png") -> bytes:
    """The picture as the bytes of a file of this format, on white where the format has no page behind it."""
    from matplotlib import rc_context

    if format == "svg":
        return svg(figure, name, alone=True).encode()
    buffer = io.BytesIO()
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None}}[format]
    with themed(), rc_context({"savefig.facecolor": "white"}):
        figure.savefig(buffer, format=format, metadata=metadata)
    return buffer.getvalue()


def write(figure: Figure, path: Path, name: str, format: str = "png") -> None:
    """Raises StoreError where the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(figure, name, format))
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}; choose another place or free some space") from error
