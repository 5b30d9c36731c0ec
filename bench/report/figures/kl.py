"""Divergence from the policy that sampled (above) and from the start model (below): mean over seeds and an interval of it.

Estimators: k3 to the sampling policy, never negative and on a logarithmic axis that ends where rounding begins,
without an interval where that reaches 0; k1 to the start model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.board.groups import Board
from bench.report import lines
from bench.report.axes import ROUNDING
from bench.report.data import KL_OLD, KL_REF, Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCOPE = "board"
NOTHING = "no run on this board measured its divergence; train.measure_kl=true does where the rule has no use for it"
OLD = lines.Panel("divergence from the sampling policy", "nats, k3", KL_OLD, log=True, floor=ROUNDING)
START = lines.Panel("divergence from the start model", "nats per token, k1", KL_REF)


def draw(report: Report, board: Board | None = None, axis: str = "samples") -> Figure | None:
    """None where `NOTHING` applies."""
    return lines.stack(report, board, axis, OLD, START)
