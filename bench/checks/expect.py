"""How a contract says that it is broken. Unlike `assert`, it still speaks under `python -O`."""

from __future__ import annotations


def expect(condition: object, message: str) -> None:
    """Raises AssertionError with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)
