"""From logs of other libraries to finished run folders, which reporting then reads like any other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.config import Choice, ImportedSettings, RunSpec
from bench.errors import ConfigError, StoreError
from bench.exchange import origin
from bench.exchange.log import Log, Names
from bench.exchange.records import Reading, records, score_of
from bench.exchange.wanted import Wanted, check
from bench.record import Record
from bench.resolve_control import named
from bench.store import RunStore

SEED = re.compile(r"(?:^|[_.-])seed[_=-]?(\d+)(?![0-9])")
HELD_OUT = "held-out"


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


@dataclass(frozen=True)
class _Ready:
    """One run, read and not yet written."""

    spec: RunSpec
    source: Path
    digest: str
    facts: dict[str, Any]
    records: list[Record]
    notes: tuple[str, ...]


def bring(sources: Sequence[Path], wanted: Wanted, store: RunStore) -> list[Brought]:
    """Every run below the sources, each with a folder of its own; one that is there already is left as it is.

    Raises ConfigError for a choice that is open or cannot work, StoreError for a log that is damaged, MissingError for a library that is
    needed to read it. Nothing is written before all logs are read.
    """
    check(wanted)
    reader = import_module(f"bench.exchange.{wanted.library}")
    names: Names = reader.NAMES
    found = [path for source in sources for path in _runs(source, reader, names)]
    logs = [_seeded(reader.read(path), wanted, len(found)) for path in found]
    _check_seeds(logs)
    budget = wanted.budget or max(_steps(log) for log in logs)
    return [_write(one, store) for one in [_ready(log, names, wanted, budget) for log in logs]]


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


def _ready(log: Log, names: Names, wanted: Wanted, budget: int) -> _Ready:
    """Raises ConfigError where the score is an open choice, and for a log that holds nothing."""
    score, completions = score_of(log, names, wanted.score), wanted.completions or log.completions
    spec = _spec(log, names, wanted, score, completions, budget)
    scale, digest = origin.scale_of(spec.task), origin.digest(log.files)
    reading = Reading(score=score, completions=completions, scale=scale, limit=wanted.limit, key=f"{wanted.library} {digest[:12]}")
    facts = origin.facts(log, names, digest, score, scaled=scale is not None)
    return _Ready(spec, log.source, digest, facts, records(log, names, reading), origin.notes(log, score, names))


def _spec(log: Log, names: Names, wanted: Wanted, score: str, completions: float | None, budget: int) -> RunSpec:
    task, inner = named(wanted.task)
    rates = {value for _, value in log.series.get(names.rate, [])}
    unit = wanted.unit or (names.unit if completions is None else "samples")
    assert log.seed is not None
    # In a table that libraries share by request, evaluations are one thing whatever each calls them; training returns never are.
    called = HELD_OUT if wanted.family and score and score not in names.trained else score
    return RunSpec(
        algorithm=Choice(wanted.algorithm, log.settings | wanted.settings),
        task=Choice(task, inner),
        tier=wanted.family or wanted.library,
        sampler=Choice(wanted.library),
        model=Choice("unknown"),
        seed=log.seed,
        budget=round(budget * completions) if completions and not wanted.budget else budget,
        train=ImportedSettings(library=wanted.library, unit=unit, score=called, lr=rates.pop() if len(rates) == 1 else None),
    )


def _write(ready: _Ready, store: RunStore) -> Brought:
    spec, made = ready.spec, ready.records
    final = next((record.eval_score for record in reversed(made) if record.eval_score is not None), None)
    there = _already(spec, ready.digest, store)
    if there is not None:
        return Brought(spec, there, ready.source, False, len(made), final, ready.notes)
    with store.open(spec, ready.facts) as folder:
        folder.rewind(None)  # of an import that was killed
        for record in made:
            folder.append(record)
        last = made[-1]
        folder.finish({"score": final, "samples": last.samples, "tokens": last.tokens, "steps": last.step})
        return Brought(spec, folder.path, ready.source, True, len(made), final, ready.notes)


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
