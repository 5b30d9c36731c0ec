"""What can go wrong for a user, as one tree. Each message names the value at fault and the remedy; the command line exits with 2.

BenchError
|- ConfigError      a name, value or pairing that cannot work (also a ValueError)
|- MissingError     something to install, download or make first
|- StoreError       the results folder cannot be read or written as asked
|  `- BusyError     another process is writing this run
|- DivergedError    training left the finite numbers
`- PeerError        another process of the same run failed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Something a user can mend."""


class ConfigError(BenchError, ValueError):
    """A name, value or pairing that cannot work."""


class MissingError(BenchError):
    """Something to install, download or make first."""


class StoreError(BenchError):
    """The results folder cannot be read or written as asked."""


class BusyError(StoreError):
    """Another process is writing this run."""


class DivergedError(BenchError):
    """Training left the finite numbers."""

    def __init__(self, message: str, seed: int | None = None) -> None:
        """`seed`: whose training it was, where several train together."""
        super().__init__(message)
        self.seed = seed


class PeerError(BenchError):
    """Another process of the same run failed, and this one ends with it."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a misspelt name: the nearest known one, then all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"no {kind} called {name!r}.{hint} Known: {', '.join(names) or 'none'}")
