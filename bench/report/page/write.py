"""The report as a folder: the page, each picture on its own, and the tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import files, trials
from bench.board import facts, markdown
from bench.board.aggregates import Aggregate
from bench.board.leaderboard import Row, Tested, assembled
from bench.errors import MissingError, unknown
from bench.report import data, measured, tables
from bench.report.data import Report
from bench.report.page import curves, pictures
from bench.report.page.document import document
from bench.report.page.entries import Commands, Repeat, commands
from bench.report.page.pictures import Missing, Picture
from bench.report.page.spread import spread
from bench.trials import Trial


def write(results: Path, out: Path, repeat: Repeat, wanted: Sequence[str] = ()) -> list[Path]:
    """Reads every run once and writes index.html and what lies beside it; the paths written, the page first.

    `wanted`: tables to keep, all by default. Raises MissingError where there are no runs, ConfigError for a table that has none, and
    StoreError where the folder cannot be written.
    """
    columns = {*data.COLUMNS, *curves.COLUMNS, *facts.columns(), *measured.columns()}
    found = trials.read(results, columns, metrics=measured.for_runs())
    if not found:
        raise MissingError(f"no runs in {results}; `bench run --algo gspo --task gsm8k` makes one, `--results` names another folder")
    report = Report.of(found)
    if wanted:
        report, found = _only(report, found, wanted)
    _work_out(report)
    boards, together = [report.leaderboard(board) for board in report.boards], [] if wanted else report.aggregates()
    jobs: list[Repeat | pictures.Job] = [repeat, *pictures.jobs(report)]
    done = spread(report, _made, jobs)
    known = next(one for one in done if isinstance(one, dict))
    drawn = [one for one in done if isinstance(one, Picture | Missing)]
    content = {
        "index.html": document(report, found, drawn, known).encode(),
        "leaderboard.md": markdown.markdown(boards, together).encode(),
        "leaderboard.csv": markdown.as_csv(boards).encode(),
        "metrics.csv": tables.metrics(report).encode(),
        "runs.csv": tables.runs(report).encode(),
        "curves.csv": tables.curves(report).encode(),
    }
    for picture in drawn:
        if isinstance(picture, Picture):
            content |= {f"pictures/{picture.place}.png": picture.png, f"pictures/{picture.place}.svg": picture.file.encode()}
    for name, held in content.items():
        with files.guarded(out / name):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(held)
    return [out / name for name in content]


OfBoard = tuple[tuple[Row, ...], tuple[Tested, ...], curves.Bands]


def _work_out(report: Report) -> None:
    """Puts what takes a while into the report's memory: every leaderboard, every curve, and what all boards come to."""
    jobs = [None, *range(len(report.boards))]
    found = spread(report, _worked_out, jobs)
    for board, held in zip(report.boards, [one for one in found if isinstance(one, tuple)], strict=True):
        rows, tests, bands = held
        report.memory["leaderboard", board.name] = assembled(board, rows, tests)
        for (key, columns, axis), band in bands:
            report.memory["curve", board.name, key, columns, axis] = band
    report.memory["aggregates",] = next(one for one in found if isinstance(one, list))


def _worked_out(report: Report, place: int | None) -> OfBoard | list[Aggregate]:
    """Of one board, or of all of them together."""
    if place is None:
        return report.aggregates()
    table = report.leaderboard(report.boards[place])
    return table.rows, table.tests, curves.bands(report, place)


def _made(report: Report, job: Repeat | pictures.Job) -> Commands | Picture | Missing:
    """One part of the page that takes a while."""
    return pictures.draw(report, job) if isinstance(job, tuple) else commands(report, job)


def _only(report: Report, found: list[Trial], wanted: Sequence[str]) -> tuple[Report, list[Trial]]:
    for name in wanted:
        if not any(name in (board.table, board.name) for board in report.boards):
            raise unknown("table", name, {board.table for board in report.boards})
    kept = tuple(board for board in report.boards if {board.table, board.name}.intersection(wanted))
    return Report(kept), [trial for trial in found if trial.table in {board.table for board in kept}]
