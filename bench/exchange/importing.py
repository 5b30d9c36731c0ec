"""From logs of other libraries to finished run folders, which reporting then reads like any other."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from bench import __version__, registry
from bench.config import CONTROL, Choice, ImportedSettings, RunSpec
from bench.errors import ConfigError, StoreError, unknown
from bench.exchange.log import Log, Names
from bench.exchange.records import Reading, Scale, records, score_of
from bench.resolve_control import named
from bench.store import RunStore

LIBRARIES = ("trl", "verl", "tensorboard", "cleanrl", "sb3")
OURS = ("tiny", "full", CONTROL)
NAME = re.compile(r"[A-Za-z0-9][\w.:+-]*")
SEED = re.compile(r"(?:^|[_.-])seed[_=-]?(\d+)(?![0-9])")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the user says of the logs; everything left open is read from them."""

    library: str
    task: str
    algorithm: str
    seed: int | None = None
    score: str = ""
    unit: str = ""
    budget: int = 0
    completions: float = 0.0  # per step; 0: what the log tells
    family: str = ""  # the second half of the table's name; empty: the library
    settings: dict[str, Any] = field(default_factory=dict)  # of the algorithm, as far as known
    limit: int = 1000  # records per run


@dataclass(frozen=True)
class Brought:
    """One run of the results folder."""

    spec: RunSpec
    folder: Path
    source: Path
    new: bool
    records: int
    score: float | None  # at the end
    notes: tuple[str, ...] = ()


def bring(sources: Sequence[Path], wanted: Wanted, store: RunStore) -> list[Brought]:
    """Every run below the sources, each with a folder of its own; one that is there already is left as it is.

    Raises ConfigError for a choice that is open or cannot work, StoreError for a log that is damaged, MissingError for a library that is
    needed to read it. Nothing is written before all logs are read.
    """
    _check(wanted)
    reader = import_module(f"bench.exchange.{wanted.library}")
    names: Names = reader.NAMES
    found = [path for source in sources for path in _runs(source, reader, names)]
    logs = [_seeded(reader.read(path), wanted, len(found)) for path in found]
    _check_seeds(logs)
    budget = wanted.budget or max(_steps(log) for log in logs)
    return [_write(log, names, wanted, budget, store) for log in logs]


def read_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE as numbers, flags or text. Raises ConfigError for anything of another form."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise ConfigError(f"--set takes NAME=VALUE, such as lr=1e-5; it got {pair!r}")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _check(wanted: Wanted) -> None:
    if wanted.library not in LIBRARIES:
        raise unknown("library to import from", wanted.library, LIBRARIES)
    for option, value in (("--task", wanted.task), ("--algo", wanted.algorithm), ("--as", wanted.family or wanted.library)):
        if not NAME.fullmatch(value):
            raise ConfigError(f"{option} is {value!r}; it takes letters, digits and . _ : + -, and names a folder")
    if wanted.family in OURS:
        raise ConfigError(
            f"--as {wanted.family} is where our own runs are, with a budget and an evaluation of their own; choose another name"
        )


def _runs(source: Path, reader: Any, names: Names) -> list[Path]:
    if not source.exists():
        raise ConfigError(f"{source} does not exist; give the file or folder that {names.title} wrote")
    found: list[Path] = reader.runs(source)
    if not found:
        raise ConfigError(f"no log of {names.title} in {source}; give the file or folder that it wrote, or another --from")
    return found


def _seeded(log: Log, wanted: Wanted, count: int) -> Log:
    """The log with its seed: as asked, as logged, or as the folder is called."""
    if wanted.seed is not None:
        if count > 1:
            raise ConfigError(
                f"--seed {wanted.seed} is given for {count} runs; import them one by one, or name their folders seed_0, seed_1, ..."
            )
        return replace(log, seed=wanted.seed)
    if log.seed is not None:
        return log
    called = [found for part in log.source.absolute().parts[::-1] if (found := SEED.search(part))]
    if not called:
        raise ConfigError(f"nothing in {log.source} tells its seed; give --seed, or name its folder seed_0 or the like")
    return replace(log, seed=int(called[0][1]))


def _check_seeds(logs: Sequence[Log]) -> None:
    seen: dict[int, Path] = {}
    for log in logs:
        assert log.seed is not None
        if log.seed in seen:
            raise ConfigError(f"{seen[log.seed]} and {log.source} both have seed {log.seed}; import them apart, under names of their own")
        seen[log.seed] = log.source


def _steps(log: Log) -> int:
    """What the run was to do, or did as far as is known."""
    return log.budget or max(log.steps(), default=0)


def _write(log: Log, names: Names, wanted: Wanted, budget: int, store: RunStore) -> Brought:
    task, inner = named(wanted.task)
    score = score_of(log, names, wanted.score)
    completions = wanted.completions or log.completions
    unit = wanted.unit or (names.unit if completions is None else "samples")
    rates = {value for _, value in log.series.get(names.rate, [])}
    lr = rates.pop() if len(rates) == 1 else None
    spec = RunSpec(
        algorithm=Choice(wanted.algorithm, log.settings | wanted.settings),
        task=Choice(task, inner),
        tier=wanted.family or wanted.library,
        sampler=Choice(wanted.library),
        model=Choice("unknown"),
        seed=log.seed or 0,
        budget=round(budget * completions) if completions and not wanted.budget else budget,
        train=ImportedSettings(library=wanted.library, unit=unit, score=score, lr=lr),
    )
    digest = _digest(log.files)
    scale, notes = _scale(task, inner), _notes(log, score, names)
    reading = Reading(score=score, completions=completions, scale=scale, limit=wanted.limit, key=f"{wanted.library} {digest[:12]}")
    made = records(log, names, reading)
    final = next((record.eval_score for record in reversed(made) if record.eval_score is not None), None)
    there = _already(spec, digest, store)
    if there is not None:
        return Brought(spec, there, log.source, False, len(made), final, notes)
    with store.open(spec, _facts(log, names, digest, scale is not None)) as folder:
        folder.rewind(None)  # of an import that was killed
        for record in made:
            folder.append(record)
        last = made[-1]
        folder.finish({"score": final, "samples": last.samples, "tokens": last.tokens, "steps": last.step})
        return Brought(spec, folder.path, log.source, True, len(made), final, notes)


def _already(spec: RunSpec, digest: str, store: RunStore) -> Path | None:
    """The finished run that was made of the same bytes. Raises StoreError where another log has the same specification."""
    for info in store.runs(table=spec.table, algorithm=spec.algorithm.name, seed=spec.seed, state="finished"):
        facts = [info.provenance, *info.provenance["resumed"]][-1]  # a first import may have been killed
        held = facts.get("imported", {}).get("sha256")
        if info.spec is not None and held == digest and replace(info.spec, budget=spec.budget) == spec:
            return info.folder
        if info.run_id == spec.run_id:
            raise StoreError(
                f"{info.folder} was imported from another log with the same names and seed; tell them apart by --set NAME=VALUE, such as "
                "--set lr=1e-5, or by another --seed"
            )
    return None


def _scale(task: str, inner: dict[str, Any]) -> Scale | None:
    """What reads a return on the scale of 0 (random actions) to 1 (known to be reached), where the task is one that knows it."""
    if inner or task not in registry.names("tasks"):
        return None
    known = registry.load("tasks", task)
    if getattr(known, "floor", None) is None or getattr(known, "ceiling", None) is None:
        return None
    score: Scale = known().score
    return score


def _digest(files: Sequence[Path]) -> str:
    """SHA-256 of the files' names and bytes."""
    found = hashlib.sha256()
    for path in files:
        found.update(f"{path.name}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    return found.hexdigest()


def _notes(log: Log, score: str, names: Names) -> tuple[str, ...]:
    found = list(log.notes)
    if log.dropped:
        found.append(f"{log.source}: {log.dropped} values were not finite, and are left out")
    if not score:
        trained = next((name for name in names.trained if name in log.series), None)
        hint = f"; --score {trained} takes what training was paid for it" if trained else "; choose one by --score"
        found.append(f"{log.source}: no evaluation in this log, so that the run has no score{hint}")
    elif score in names.trained:
        found.append(f"{log.source}: the score is {score}, which is of training and not of an evaluation")
    return tuple(found)


def _facts(log: Log, names: Names, digest: str, scaled: bool) -> dict[str, Any]:
    imported = {
        "from": names.library,
        "source": str(log.source.absolute()),
        "files": [path.name for path in log.files],
        "sha256": digest,
        "versions": log.versions,
        "dropped": log.dropped,
        "scaled": scaled,
        "notes": log.notes,
    }
    return {"bench": __version__, "imported": imported}
