"""What is not counted, or counted in another way than one would think, and why: nothing is dropped in silence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.board.groups import Board
from bench.report.data import Report
from bench.report.page.elements import Cell, Column, Html, Table, element
from bench.trials import Trial

SHOWN = 200  # runs named one by one on the page; the table of runs has all of them
WHY = {
    "running": "still running",
    "stopped": "stopped before its budget was spent; the same command continues it",
    "failed": "failed for a reason outside the algorithm",
    "broken": "its folder cannot be read",
}


@dataclass(frozen=True)
class Remark:
    """A run, or an entry, and what about it a reader must know."""

    board: str
    who: str
    what: str
    counted: str  # how it enters the figures


def remarks(report: Report, found: Sequence[Trial] = ()) -> list[Remark]:
    """Everything that a reader could otherwise take for counted, board by board. `found`: all trials read, of which some may be copies."""
    made = [remark for board in report.boards for remark in _board(board)]
    tables: dict[str, set[str]] = defaultdict(set)
    for board in report.boards:
        for trial in board.broken if board.table not in tables else ():
            tables[board.table].add(trial.run_id)
            made.append(Remark(board.table, f"{trial.algorithm}, run {trial.run_id}", trial.fault or WHY["broken"], "not counted"))
        tables.setdefault(board.table, set())
    return made + list(_copies(report, found))


def _board(board: Board) -> Iterator[Remark]:
    for entry in board.entries:
        for trial in entry.left_out:
            why = WHY[trial.state] + (f": {trial.fault}" if trial.fault else "")
            yield Remark(board.name, _named(entry.label, trial), f"{why} ({_share(trial)})", "not counted")
        for trial in entry.trials:
            if trial.diverged:
                floor = "scored 0 at its end" if board.scaled else "without a score, as there is no floor to give it"
                yield Remark(board.name, _named(entry.label, trial), f"diverged at {_share(trial)}: {trial.fault or 'not finite'}", floor)
    yield from _entries(board)


def _entries(board: Board) -> Iterator[Remark]:
    """What is to be said of entries, those of which it is the same together."""
    said: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in board.entries:
        if len(entry.trials) == 1:
            said["one seed alone", "counted, without an interval over seeds"].append(entry.label)
        bare = sum(not _has_items(trial) for trial in entry.trials)
        if bare:
            which = "all of its runs are" if bare == len(entry.trials) else f"{bare} of its {len(entry.trials)} runs are"
            text = f"{which} of a version, or another library, that kept no score of each held-out item"
            said[text, "counted, without the part of the interval that is due to the items"].append(entry.label)
    yield from (Remark(board.name, ", ".join(labels), what, counted) for (what, counted), labels in said.items())


def _has_items(trial: Trial) -> bool:
    return any((trial.folder / name).exists() for name in ("items.jsonl", "items.jsonl.gz"))


def _named(label: str, trial: Trial) -> str:
    return f"{label}, seed {trial.seed}, run {trial.run_id}"


def _share(trial: Trial) -> str:
    """How far a run came."""
    samples, budget = trial.last("samples"), float(trial.spec.get("budget") or 0)
    return (
        "before its first record"
        if samples != samples
        else f"{min(1.0, samples / budget):.0%} of its budget"
        if budget
        else "budget unknown"
    )


def _copies(report: Report, found: Sequence[Trial]) -> Iterator[Remark]:
    kept = {id(trial) for board in report.boards for entry in board.entries for trial in (*entry.trials, *entry.left_out)}
    kept |= {id(trial) for board in report.boards for trial in board.broken}
    for trial in found:
        if id(trial) not in kept:
            who = f"{trial.algorithm}, seed {trial.seed}, run {trial.run_id}"
            yield Remark(trial.table, who, f"the same run lies here a second time, in {'/'.join(trial.folder.parts[-3:])}", "counted once")


def section(made: Sequence[Remark]) -> Html:
    """The list, or the sentence that there is nothing on it."""
    if not made:
        return element(
            "section",
            element("h2", "What is not counted, and why"),
            element("p", "Nothing: every run is finished and counted."),
            id="left-out",
        )
    columns = [Column("board"), Column("who"), Column("what"), Column("counted")]
    rows = [[Cell(r.board), Cell(r.who, wide=True), Cell(r.what, wide=True), Cell(r.counted, wide=True)] for r in made[:SHOWN]]
    more = f" The first {SHOWN} are named here; the table of runs has all of them." if len(made) > SHOWN else ""
    table = Table(columns, rows, f"{len(made)} remark{'' if len(made) == 1 else 's'} on runs and entries.{more}")
    return element("section", element("h2", "What is not counted, and why"), table.html(), id="left-out")
