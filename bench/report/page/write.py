"""The report as a folder: the page, each picture on its own, and the tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import files, trials
from bench.board import facts, markdown
from bench.errors import ConfigError, MissingError
from bench.report import data, tables
from bench.report.data import Report
from bench.report.page.curves import COLUMNS
from bench.report.page.document import document
from bench.report.page.entries import Repeat
from bench.report.page.pictures import Picture, drawn


def write(results: Path, out: Path, repeat: Repeat, wanted: Sequence[str] = ()) -> list[Path]:
    """Reads every run once and writes index.html and what lies beside it; the paths written, the page first.

    `wanted`: tables to keep, all by default. Raises MissingError where there are no runs, ConfigError for a table that has none, and
    StoreError where the folder cannot be written.
    """
    found = trials.read(results, {*data.COLUMNS, *COLUMNS, *facts.columns()})
    if not found:
        raise MissingError(f"no runs in {results}; `bench run --algo gspo --task gsm8k` makes one, `--results` names another folder")
    report = Report.of(found)
    if wanted:
        report, found = _only(report, found, wanted)
    pictures = list(drawn(report))
    boards, together = [report.leaderboard(board) for board in report.boards], [] if wanted else report.aggregates()
    content = {
        "index.html": document(report, found, pictures, repeat).encode(),
        "leaderboard.md": markdown.markdown(boards, together).encode(),
        "leaderboard.csv": markdown.as_csv(boards).encode(),
        "runs.csv": tables.runs(report).encode(),
        "curves.csv": tables.curves(report).encode(),
    }
    for picture in pictures:
        if isinstance(picture, Picture):
            content |= {f"pictures/{picture.place}.png": picture.png, f"pictures/{picture.place}.svg": picture.file.encode()}
    for name, held in content.items():
        with files.guarded(out / name):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(held)
    return [out / name for name in content]


def _only(report: Report, found: list[trials.Trial], wanted: Sequence[str]) -> tuple[Report, list[trials.Trial]]:
    for name in wanted:
        if not any(name in (board.table, board.name) for board in report.boards):
            known = ", ".join(sorted({board.table for board in report.boards}))
            raise ConfigError(f"no runs on {name!r}; there are some on {known}")
    kept = report.only(wanted)
    there = {board.table for board in kept.boards}
    return kept, [trial for trial in found if trial.table in there]
