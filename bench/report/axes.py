"""What stands along an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.board.groups import Board

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {
    "samples": "completions sampled for training",
    "tokens": "tokens generated for training",
    "verifier_calls": "calls of the verifier",
    "updates": "optimizer steps",
    "cpu_seconds": "processor time, evaluation included",
    "seconds": "wall clock, evaluation included",
}
ROUNDING = 1e-7  # what is nearer to 0 comes from sums in float32


def title(board: Board, axis: str) -> str:
    """What an axis counts on this board."""
    return f"{board.unit} of training" if axis == "samples" and board.unit != "samples" else NAMES[axis]


def settle(panel: Axes, board: Board, axis: str, note: str) -> None:
    """The lower axis of a picture of curves: few ticks, in words that people use, and a note after its name."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    steps = [1, 1.2, 1.5, 2, 3, 6, 10] if axis.endswith("seconds") else [1, 2, 2.5, 5, 10]
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=steps))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds_text(value) if axis.endswith("seconds") else count_text(value)))
    panel.set_xlabel(f"{title(board, axis)} ({note})")


def count_text(count: float) -> str:
    """1500 as 1.5k, 2000000 as 2M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= size:
            return f"{count / size:.4g}{letter}"
    return f"{count:.4g}"


def seconds_text(seconds: float) -> str:
    """45 as 45 s, 150 as 2.5 min, 5400 as 1.5 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds else "0"


def number(value: float) -> str:
    """Two decimals, or as many digits as tell a value from 0; whole from 100 on."""
    if abs(value) < 0.01:
        return f"{value:.1e}".replace("e-0", "e-") if abs(value) >= ROUNDING else "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
