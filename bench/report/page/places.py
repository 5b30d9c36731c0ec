"""Where things stand on the page."""

from __future__ import annotations

from bench.board.groups import Board


def anchor(board: Board) -> str:
    """The board's place, for links."""
    return "board-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in board.name)
