"""Runs a row of the leaderboard again, and says whether it comes to the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.board import differences
from bench.board.groups import Entry
from bench.board.hashing import spec_hash
from bench.config import CONTROL, RunSpec
from bench.errors import ConfigError, DivergedError, StoreError
from bench.record import Record
from bench.run import execute_seeds
from bench.store import RunStore
from bench.trials import Trial, read

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "gymnasium")  # what may change a tiny run's bits
Observe = Callable[[RunSpec, Record], None]


@dataclass(frozen=True)
class Verdict:
    """What running one seed again came to."""

    seed: int
    holds: bool
    exact: bool  # compared byte for byte; else within a band
    detail: str


def plan(entry: Entry, seeds: Sequence[int]) -> list[list[RunSpec]]:
    """What is to be run so that these seeds are run again: each with the seeds that were trained beside it.

    Raises ConfigError for a seed that the row has not and where it cannot be run again, StoreError where a specification was changed.
    """
    groups: dict[tuple[int, ...], list[RunSpec]] = {}
    for trial in (_trial(entry, seed) for seed in seeds):
        check(trial)
        spec = RunSpec.from_json(dict(trial.spec))
        groups.setdefault(together(trial), [replace(spec, seed=seed) for seed in together(trial)])
    return list(groups.values())


def verify(entry: Entry, seeds: Sequence[int], root: Path, observe: Observe, band: float = math.nan) -> list[Verdict]:
    """Runs these seeds again under `root`, a folder for nothing else, and compares what they leave.

    Bytes are compared where machine, Python, packages and threads are the same; elsewhere the final score, which may differ by `band`.
    Raises what `plan` does.
    """
    verdicts: dict[int, Verdict] = {}
    for number, specs in enumerate(plan(entry, seeds)):
        store = RunStore(root / str(number))
        _run(specs, store, observe)
        for again in read(store.root):
            if again.seed in seeds:
                verdicts[again.seed] = _judged(_trial(entry, again.seed), again, band)
    return [verdicts[seed] for seed in seeds]


def check(trial: Trial) -> None:
    """Raises StoreError where the specification is not the one that the run is named after, ConfigError where it cannot be run here."""
    where = trial.folder / "spec.json"
    if spec_hash(trial.spec) != trial.run_id:
        raise StoreError(
            f"{where} was changed: its specification has the hash {spec_hash(trial.spec)}, and the run is {trial.run_id}; restore it"
        )
    if trial.spec["tier"] not in ("tiny", CONTROL):
        raise ConfigError(f"{trial.table} is of the tier {trial.spec['tier']!r}; rows of the tiny tier and of Gymnasium can be run again")
    try:
        known = RunSpec.from_json(dict(trial.spec)).run_id
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{where} has settings that this version does not know ({error}); use the one that made it: {_maker(trial)}"
        ) from error
    if known != trial.run_id:
        raise ConfigError(f"{where} lacks settings that this version has; run the row again with the one that made it: {_maker(trial)}")


def together(trial: Trial) -> tuple[int, ...]:
    """The seeds that were trained in one process with a run, its own among them: batched products of other numbers round otherwise."""
    return tuple(_newest(trial).get("seeds_together") or (trial.seed,))


def elsewhere(was: Trial, now: Trial) -> list[str]:
    """What differs between the platforms of two runs and may change their bits, in words."""
    held = [was.provenance, *was.provenance.get("resumed", [])]
    found = [text for facts in held for text in _differing(facts, now.provenance)]
    if len({tuple(facts.get("seeds_together") or ()) for facts in held}) > 1:
        found.append("it was trained beside other seeds before it was resumed")
    return list(dict.fromkeys(found))


def _differing(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    before, after = _platform(was), _platform(now)
    return [f"{name} {after.get(name, 'absent')}, was {before.get(name, 'absent')}" for name in before if before[name] != after.get(name)]


def _platform(facts: Mapping[str, Any]) -> dict[str, str]:
    packages = facts.get("packages") or {}
    found = {"cpu": facts.get("cpu"), "Python": ".".join(str(facts.get("python")).split(".")[:2]), "threads": facts.get("threads")}
    return {name: str(value) for name, value in (found | {name: packages.get(name) for name in PACKAGES}).items()}


def _run(specs: Sequence[RunSpec], store: RunStore, observe: Observe) -> None:
    """Runs that leave the finite numbers are an end as well; those beside them go on without."""
    left = list(specs)
    while left:
        try:
            execute_seeds(left, store, observe)
            return
        except DivergedError as error:
            left = [spec for spec in left if spec.seed != error.seed] if error.seed is not None else []


def _judged(was: Trial, now: Trial, band: float) -> Verdict:
    others, records = elsewhere(was, now), len(now.curve["step"])
    here = f", although {'; '.join(others)}" if others else ""
    parted = differences.first(was.folder, now.folder)
    if parted is None:
        return Verdict(was.seed, True, True, f"the same bytes in {records} records{here}")
    code = {(facts.get("bench"), facts.get("revision"), facts.get("dirty")) for facts in (_newest(was), now.provenance)}
    if len(code) > 1 and differences.first(was.folder, now.folder, more=True) is None:
        more = ", ".join(differences.added(was.folder, now.folder))
        return Verdict(was.seed, True, True, f"the same in all of {records} records; this version also records {more}{here}")
    if not others:
        why = "" if len(code) == 1 else f"; the code is not the one that made it: {_maker(was)}"
        return Verdict(was.seed, False, True, f"{parted}{why}")
    return _within(was, now, band, f"another platform ({'; '.join(others)})")


def _within(was: Trial, now: Trial, band: float, where: str) -> Verdict:
    """On another platform: how far the final scores are apart."""
    before, after = was.last("eval_score"), now.last("eval_score")
    if was.diverged != now.diverged:
        return Verdict(
            was.seed,
            False,
            False,
            f"{where}: it {'diverged' if now.diverged else 'finished'}, and had {'diverged' if was.diverged else 'finished'}",
        )
    if math.isnan(band):
        return Verdict(was.seed, False, False, f"{where}, where bytes cannot be expected, and a row of one seed gives no band to judge by")
    gap = abs(after - before)
    words = f"{where}: final score {after:.4f}, was {before:.4f}; apart by {gap:.4f}, band {band:.4f}"
    return Verdict(was.seed, gap <= band, False, words)


def _trial(entry: Entry, seed: int) -> Trial:
    for trial in entry.trials:
        if trial.seed == seed:
            return trial
    raise ConfigError(f"row {entry.label!r} has no seed {seed}; it has {', '.join(map(str, entry.seeds))}")


def _newest(trial: Trial) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = [trial.provenance, *trial.provenance.get("resumed", [])][-1]
    return facts


def _maker(trial: Trial) -> str:
    facts = _newest(trial)
    revision = f", revision {str(facts['revision'])[:12]}" if "revision" in facts else ""
    return f"bench {facts.get('bench', 'of unknown version')}{revision}{' with changes' if facts.get('dirty') else ''}"
