"""Share of the policy gradient that a rule lets through, 1 being all of it: mean over seeds and an interval of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.board.groups import Board
from bench.report import lines
from bench.report.data import GATE, Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCOPE = "board"
NOTHING = "no run on this board has a gate; rules without a policy gradient have none"
PANEL = lines.Panel("gate", "share of gradient kept; dashed: all", GATE, reference=1.0, floor=0.0)


def draw(report: Report, board: Board | None = None, axis: str = "samples") -> Figure | None:
    """None where `NOTHING` applies."""
    return lines.stack(report, board, axis, PANEL)
