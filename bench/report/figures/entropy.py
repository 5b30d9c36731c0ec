"""Entropy of the policy during training: mean over seeds and an interval of it; each point averages a part of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.board.groups import Board
from bench.report import lines
from bench.report.data import ENTROPY, Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCOPE = "board"
NOTHING = "no run on this board has an entropy; deterministic policies have none"
PANEL = lines.Panel("entropy", "nats per token or action", ENTROPY, floor=0.0)


def draw(report: Report, board: Board | None = None, axis: str = "samples") -> Figure | None:
    """None where `NOTHING` applies."""
    return lines.stack(report, board, axis, PANEL)
