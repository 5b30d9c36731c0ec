"""Held-out score against what was spent on training: mean over seeds and an interval of it, names in order of the final score.

A run keeps its last score once its budget is spent; one that diverged scores nothing from there on, where scores have a floor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.board.groups import Board
from bench.report import lines
from bench.report.data import SCORE, Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCOPE = "board"
NOTHING = "no finished run has an evaluation on this axis"


def draw(report: Report, board: Board | None = None, axis: str = "samples") -> Figure | None:
    """None where `NOTHING` applies."""
    return None if board is None else lines.stack(report, board, axis, lines.Panel("score", report.score_text(board), SCORE))
