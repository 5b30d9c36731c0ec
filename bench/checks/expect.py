"""How a contract says that it is broken, or that it asks nothing of this plug-in."""

from __future__ import annotations


class DoesNotApply(Exception):
    """The contract asks nothing of this plug-in; the text says why."""


def expect(condition: object, message: str) -> None:
    """Raises AssertionError with the message unless the condition holds. Unlike `assert`, it still speaks under `python -O`."""
    if not condition:
        raise AssertionError(message)
