"""Runs small enough for version control: what was measured, without checkpoints and pictures."""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import files
from bench.errors import StoreError
from bench.run_folder import DONE, FAILED, LOGS
from bench.trials import Trial

PLAIN = ("spec.json", DONE, FAILED)


@dataclass(frozen=True)
class Packing:
    """What a packing did."""

    new: int
    there: int  # runs that lay there before, with the same content
    left_out: tuple[tuple[Trial, str], ...]  # each with the reason
    bytes: int  # of all runs that were asked for, as they lie there now


def pack(trials: Iterable[Trial], out: Path) -> Packing:
    """Copies runs that have ended into `<out>/<table>/<algorithm>/<run_id>/`, their logs compressed: equal runs, equal bytes.

    May be repeated: what is there already stays. Raises StoreError, before anything is written, where another run of the same name is
    there, and where the disk refuses.
    """
    known = [(trial, _unfit(trial)) for trial in trials]
    wanted = [(trial, out / trial.table / trial.algorithm / trial.run_id) for trial, reason in known if reason is None]
    new = [(trial, place) for trial, place in wanted if not _there(trial, place)]
    with files.guarded(out):
        for trial, place in new:
            _copy(trial.folder, place)
        size = sum(path.stat().st_size for _, place in wanted for path in place.iterdir())
    return Packing(len(new), len(wanted) - len(new), tuple((trial, reason) for trial, reason in known if reason is not None), size)


def compressed(data: bytes) -> bytes:
    """gzip with neither a name nor a time in its header."""
    held = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=held, mtime=0) as file:
        file.write(data)
    return held.getvalue()


def _unfit(trial: Trial) -> str | None:
    """Why a run is not packed; None where it is."""
    if trial.state == "finished" or (trial.state == "failed" and trial.diverged):
        return None
    return {"running": "it is running", "stopped": "it was stopped before its end"}.get(trial.state, trial.fault or trial.state)


def _there(trial: Trial, place: Path) -> bool:
    """Whether the run lies there already. Raises StoreError where another one does."""
    if not place.exists():
        return False
    for name in (*PLAIN, *LOGS):
        if files.content(trial.folder / name) != files.content(place / name):
            raise StoreError(f"{place} differs from {trial.folder} in {name}; remove the one that is wrong, or pack into another folder")
    return True


def _copy(folder: Path, place: Path) -> None:
    """The folder appears whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".new-{place.name}-", dir=place.parent))
    try:
        temporary.chmod(0o755)
        for name in (*PLAIN, *LOGS):
            data = files.content(folder / name)
            if data:
                (temporary / (name if name in PLAIN else name + files.PACKED)).write_bytes(data if name in PLAIN else compressed(data))
        temporary.rename(place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
