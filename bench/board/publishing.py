"""Where leaderboards go: the terminal, a folder, a document."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import files, trials
from bench.board import facts, markdown
from bench.board.aggregates import Aggregate, aggregates
from bench.board.groups import boards
from bench.board.leaderboard import Table, leaderboard
from bench.board.recorded import NAME
from bench.errors import ConfigError, unknown

Boards = Sequence[Table]


def tables(results: Path, name: str = "") -> tuple[list[Table], list[Aggregate]]:
    """The leaderboard of every board in a results folder and what they come to together; of one table (or board), without the latter.

    Raises ConfigError where there are no runs, or none of this table.
    """
    found = boards(trials.read(results, facts.columns()))
    if not found:
        raise ConfigError(f"no runs in {results}; `bench run --algo gspo --task gsm8k` makes one, --results names another folder")
    chosen = [board for board in found if name in ("", board.table, board.name)]
    if not chosen:
        raise unknown("table", name, {board.table for board in found})
    return [leaderboard(board) for board in chosen], [] if name else aggregates(found)


def show(found: Boards, together: Sequence[Aggregate], form: str) -> None:
    """Print them as "markdown", "json" or "csv", or, with an empty form, for people."""
    if form:
        print(_text(form, found, together), end="")
        return
    from rich.console import Console

    from bench.board import shown

    shown.show(found, together, Console())


def write(folder: Path, found: Boards, together: Sequence[Aggregate]) -> None:
    """leaderboard.md, leaderboard.json and leaderboard.csv. Raises StoreError where the disk refuses."""
    with files.guarded(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for form, name in (("markdown", "leaderboard.md"), ("json", NAME), ("csv", "leaderboard.csv")):
            files.replace(folder / name, _text(form, found, together))


def into(document: Path, found: Boards, together: Sequence[Aggregate], check: bool) -> bool:
    """Put the Markdown between the document's markers; with `check`, write nothing. Whether it was there already, or now is.

    Raises ConfigError for a document without markers.
    """
    try:
        before = document.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{document} cannot be read ({error.strerror or error}); give --readme a text file with the markers") from error
    try:
        after = markdown.within(before, markdown.markdown(found, together))
    except ConfigError as error:
        raise ConfigError(f"{document}: {error}") from error
    if check and before != after:
        print(
            f"{document} does not hold the leaderboard of these results; `bench leaderboard --readme {document}` puts it there",
            file=sys.stderr,
        )
        return False
    if before != after:
        with files.guarded(document):
            files.replace(document, after)
    return True


def _text(form: str, found: Boards, together: Sequence[Aggregate]) -> str:
    if form == "markdown":
        return markdown.markdown(found, together)
    return markdown.as_json(found, together) if form == "json" else markdown.as_csv(found)
