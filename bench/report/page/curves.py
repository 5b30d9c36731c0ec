"""Which curves the page draws, and against what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.board.groups import Board
from bench.report.data import ENTROPY, GATE, KL_OLD, KL_REF, SCORE, Band, Report
from bench.report.page.elements import Html, element

TITLES = {
    "samples": "completions",
    "tokens": "tokens",
    "verifier_calls": "verifier calls",
    "updates": "updates",
    "cpu_seconds": "CPU-seconds",
    "seconds": "wall seconds",
}


@dataclass(frozen=True)
class Panel:
    """One quantity against what was spent."""

    key: str
    title: str
    unit: str
    columns: tuple[str, ...]  # the first of these that an entry has


PANELS = (
    Panel("score", "Held-out score", "mean over seeds", SCORE),
    Panel("entropy", "Entropy", "nats per choice", ENTROPY),
    Panel("gate", "Gate", "share of the gradient kept", GATE),
    Panel("kl_old", "KL to the sampling policy", "nats per choice, k3", KL_OLD),
    Panel("kl_ref", "KL to the start model", "nats per token, k1", KL_REF),
    Panel("length", "Length", "of what training sampled", ("len/mean",)),
    Panel("overestimation", "Overestimation", "value less return", ("q/overestimation",)),
    Panel("explained", "Critic", "share of returns explained", ("value/explained_var",)),
)
COLUMNS = tuple(dict.fromkeys(column for panel in PANELS for column in panel.columns))


def axes(report: Report, board: Board) -> list[tuple[str, str]]:
    """Key and title of each axis that means something on this board."""
    own = {**TITLES, "samples": "completions" if board.unit == "samples" else board.unit}
    return [(key, own[key]) for key in report.axes(board)]


def panels(report: Report, board: Board) -> list[Panel]:
    """Those that any entry of the board has."""
    known = [key for key, _ in axes(report, board)]
    return [
        panel
        for panel in PANELS
        if any(report.curve(board, entry, panel.columns, key) for entry in board.entries if entry.trials for key in known[:1])
    ]


Bands = list[tuple[tuple[str, tuple[str, ...], str], Band | None]]  # key of the entry, columns and axis, then the curve


def bands(report: Report, place: int) -> Bands:
    """Every curve of one board."""
    board = report.boards[place]
    wanted = [(entry, panel.columns, axis) for entry in board.entries if entry.trials for panel in PANELS for axis in report.axes(board)]
    return [((entry.key, columns, axis), report.curve(board, entry, columns, axis)) for entry, columns, axis in wanted]


def section(report: Report, board: Board, place: int) -> Html | None:
    """Where the scripts draw this board's curves; None where it has none."""
    shown: Sequence[Panel] = panels(report, board)
    if not shown:
        return None
    charts = [
        element(
            "div",
            element("h4", panel.title, element("small", panel.unit, class_="soft")),
            element(
                "div", class_="plot", role="img", aria_label=f"{panel.title} of each entry on {board.name}; the tables hold the numbers"
            ),
            class_="chart first" if i == 0 else "chart",
            data_panel=panel.key,
        )
        for i, panel in enumerate(shown)
    ]
    about = (
        f"Mean over seeds, along straight lines between evaluations, with {report.level:.0%} intervals of that mean over seeds. A run that "
        "has spent its budget keeps its last score; one that diverged has 0 from there, where scores have a scale. Drag across a picture "
        "to zoom in, double-click to zoom out."
    )
    without = element("noscript", element("p", "The curves are drawn by scripts; the same pictures lie beside this page as PNG and SVG."))
    return element(
        "figure",
        element("h3", "Learning curves"),
        element("div", class_="controls"),
        element("div", charts, class_="panels"),
        without,
        element("figcaption", about),
        data_board=place,
        aria_label=f"Learning curves on {board.name}",
    )
