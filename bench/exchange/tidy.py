"""One row a record, for whatever reads tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import files
from bench.board.groups import Board
from bench.errors import MissingError
from bench.run_folder import FIELDS

if TYPE_CHECKING:
    import pandas

KEYS = ("board", "table", "label", "algorithm", "run_id", "seed", "state", "unit")


def frame(boards: Sequence[Board]) -> pandas.DataFrame:
    """KEYS, the fields of a record, then every probe by name; NaN where a value is absent. Runs that have not ended are in it, too, with
    their state beside them."""
    import pandas

    parts = []
    for board in boards:
        for entry in board.entries:
            for trial in (*entry.trials, *entry.left_out):
                keys = (board.name, board.table, entry.label, trial.algorithm, trial.run_id, trial.seed, trial.state, board.unit)
                columns = {name: trial.curve[name] for name in trial.curve if name not in ("budget", "diverged")}
                part = pandas.DataFrame(columns)
                for i, (name, value) in enumerate(zip(KEYS, keys, strict=True)):
                    part.insert(i, name, value)
                parts.append(part)
    whole = pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=[*KEYS, *FIELDS])
    probes = sorted(set(whole.columns) - {*KEYS, *FIELDS})
    return whole[[*KEYS, *FIELDS, *probes]]


def write(boards: Sequence[Board], out: Path, kind: str) -> list[Path]:
    """`kind`: csv or parquet. Raises MissingError where parquet has nothing to write it, StoreError where the disk refuses."""
    table = frame(boards)
    temporary = out.with_name(f".{out.name}.tmp")
    with files.guarded(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            if kind == "csv":
                table.to_csv(temporary, index=False)
            else:
                table.to_parquet(temporary, index=False)
            temporary.replace(out)
        except ImportError as error:
            raise MissingError(
                'parquet files are written by pyarrow, which is not installed; pip install "rl-bench-suite[full]"'
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
    return [out]
