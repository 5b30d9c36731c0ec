"""The report's numbers as CSV, for whoever wants to go on with them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence

from bench.board.groups import Board
from bench.report.data import Report
from bench.report.measured import measured
from bench.report.page.curves import PANELS
from bench.trials import Trial

RUNS = (
    "board", "entry", "algorithm", "run_id", "seed", "state", "failure", "counted", "score", "samples", "tokens", "verifier_calls",
    "updates", "cpu_seconds", "seconds", "fault",
)  # fmt: skip
CURVES = ("board", "entry", "algorithm", "quantity", "axis", "at", "value", "low", "high", "seeds")
METRICS = ("board", "entry", "algorithm", "metric", "better", "scope", "value", "seeds")
SPENT = ("samples", "tokens", "verifier_calls", "updates", "cpu_seconds", "seconds")


def text(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV with a head line; an undefined number is an empty field."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_field(value) for value in row] for row in rows)
    return buffer.getvalue()


def runs(report: Report) -> str:
    """A line for every run, the broken ones included, whose entry nobody knows."""
    return text(RUNS, (row for board in report.boards for row in _runs(board)))


def curves(report: Report) -> str:
    """A line for every point of every curve over seeds: the score against each axis, the other quantities against the first one."""
    return text(CURVES, (row for board in report.boards for row in _curves(report, board)))


def metrics(report: Report) -> str:
    """A line for every metric of every entry that has a number for it."""
    return text(METRICS, (row for board in report.boards for row in _metrics(report, board)))


def _metrics(report: Report, board: Board) -> Iterator[list[object]]:
    for one in measured(report, board):
        for entry in report.ordered(board):
            value, known = one.values.get(entry.key, (math.nan, 0))
            if not math.isnan(value):
                yield [board.name, entry.label, entry.algorithm, one.name, one.better, one.scope, value, known]


def _runs(board: Board) -> Iterator[list[object]]:
    for entry in board.entries:
        ends = {trial.run_id for trial in entry.trials}
        for trial in sorted((*entry.trials, *entry.left_out), key=lambda trial: (trial.seed, trial.run_id)):
            score = 0.0 if trial.diverged and board.scaled else trial.last("eval_score")
            counted = "yes" if trial.run_id in ends else "no"
            yield [board.name, entry.label, *_run(trial), counted, score, *(trial.last(name) for name in SPENT), trial.fault]
    for trial in board.broken:
        yield [board.table, "", *_run(trial), "no", math.nan, *(math.nan for _ in SPENT), trial.fault]


def _run(trial: Trial) -> list[object]:
    seed = None if trial.state == "broken" else trial.seed
    return [trial.algorithm, trial.run_id, seed, trial.state, trial.failure]


def _curves(report: Report, board: Board) -> Iterator[list[object]]:
    axes = report.axes(board)
    for entry in report.ordered(board):
        for panel in PANELS:
            for axis in axes if panel is PANELS[0] else axes[:1]:
                band = report.curve(board, entry, panel.columns, axis)
                if band is not None:
                    held = zip(band.x.tolist(), band.value.tolist(), band.low.tolist(), band.high.tolist(), strict=True)
                    yield from ([board.name, entry.label, entry.algorithm, panel.key, axis, *point, band.runs] for point in held)


def _field(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.8g}" if isinstance(value, float) else value
