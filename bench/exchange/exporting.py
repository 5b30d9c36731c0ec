"""Results as files that other libraries read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from bench import trials
from bench.board.groups import COLUMNS, Board, boards
from bench.errors import ConfigError, unknown
from bench.exchange import marl_eval, rliable, tidy
from bench.exchange.grid import grid

FORMATS = ("marl-eval", "rliable", "csv", "parquet")


@dataclass(frozen=True)
class Exported:
    """What was written, and what there is to say of it."""

    files: list[Path]
    notes: list[str]


def export(
    root: Path, kind: str, out: Path, tables: Collection[str] = (), algorithms: Collection[str] = (), common: bool = False
) -> Exported:
    """Writes the runs under `root` that belong to the tables and algorithms named (all, where none is).

    Raises ConfigError for an unknown name, for nothing to write and for gaps that the format cannot hold.
    """
    if kind not in FORMATS:
        raise unknown("format to export to", kind, FORMATS)
    whole = kind in ("csv", "parquet")
    found = boards(trials.read(root, None if whole else COLUMNS))
    chosen = _chosen(found, tables, algorithms)
    notes = [f"left out: {trial.fault}" for board in chosen for trial in board.broken]
    if whole:
        return Exported(tidy.write(chosen, out, kind), notes)
    table = grid(chosen, common, alike=kind == "marl-eval")
    made = rliable.write(table, out) if kind == "rliable" else marl_eval.write(table, out)
    return Exported(made, notes + table.notes)


def _chosen(found: list[Board], tables: Collection[str], algorithms: Collection[str]) -> list[Board]:
    """`tables` may name a table or one board of it, `algorithms` an algorithm or one entry."""
    known = {board.table for board in found} | {board.name for board in found}
    for name in tables:
        if name not in known:
            raise unknown("table", name, known)
    kept = [board for board in found if not tables or board.table in tables or board.name in tables]
    entries = {name for board in kept for entry in board.entries for name in (entry.algorithm, entry.label)}
    for name in algorithms:
        if name not in entries:
            raise unknown("algorithm with runs", name, entries)
    if not any(board.entries for board in kept):
        raise ConfigError("no runs to export; `bench ls runs` shows what there is")
    wanted = set(algorithms)
    return [replace(board, entries=tuple(e for e in board.entries if not wanted or wanted & {e.algorithm, e.label})) for board in kept]
