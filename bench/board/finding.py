"""Rows of the leaderboard by the names a user gives them."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

from bench.board.groups import Board, Entry
from bench.board.hashing import row_hash
from bench.errors import ConfigError, StoreError, unknown

LEAST = 4  # digits of a hash that a row can be asked for by
Row = tuple[Board, Entry]


def row(boards: Sequence[Board], name: str, recorded: Mapping[str, str] | None = None) -> Row:
    """The row of this hash, of which the first digits will do, or of `table/label`. `recorded`: the hashes that rows once had, by title.

    Raises ConfigError for no such row and for several, with the names of those there are; StoreError where the row's files are not those
    whose hash was recorded.
    """
    known, past = [(board, entry) for board in boards for entry in board.entries if entry.trials], recorded or {}
    found = _called(known, name) or _hashed(known, name)
    if not found and _is_hash(name):
        changed = [one for title, digits in past.items() if digits.startswith(name.lower()) for one in known if _title(one) == title]
        for one in changed:
            _unchanged(one, past)
    if not found:
        raise unknown("row", name, map(_title, known))
    if len(found) > 1:
        names = ", ".join(f"{_title(one)} ({row_hash(one[1].trials)})" for one in found)
        raise ConfigError(f"row {name!r} could be {names}; give its hash, or more of it")
    _unchanged(found[0], past)
    return found[0]


def _called(known: Sequence[Row], name: str) -> list[Row]:
    exact = [(b, e) for b, e in known if name in (f"{b.name}/{e.label}", f"{b.table}/{e.label}")]
    return exact or [(b, e) for b, e in known if name in (f"{b.name}/{e.algorithm}", f"{b.table}/{e.algorithm}")]


def _hashed(known: Sequence[Row], name: str) -> list[Row]:
    return [(b, e) for b, e in known if row_hash(e.trials).startswith(name.lower())] if _is_hash(name) else []


def _is_hash(name: str) -> bool:
    return len(name) >= LEAST and set(name) <= set(string.hexdigits)


def _title(row: Row) -> str:
    return f"{row[0].name}/{row[1].label}"


def _unchanged(row: Row, recorded: Mapping[str, str]) -> None:
    now = row_hash(row[1].trials)
    if recorded.get(_title(row), now) != now:
        raise StoreError(
            f"row {_title(row)} was recorded with the hash {recorded[_title(row)]}, and its {len(row[1].trials)} runs now have {now}: "
            "files were changed, or seeds came or went; restore them, or write the leaderboard anew"
        )
