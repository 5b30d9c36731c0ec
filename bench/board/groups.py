"""Which runs are one competitor, and which competitors may be compared."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bench import files
from bench.trials import Trial

COLUMNS = ("eval_score", "eval/return", "samples")  # of a curve that grouping and scoring look at
EVALUATION = ("eval_split", "eval_problems", "eval_completions", "eval_episodes", "eval_points", "limit", "unit", "score")


@dataclass(frozen=True)
class Entry:
    """One competitor: the runs of one specification, which differ in their seed alone."""

    label: str  # the algorithm, with the settings that tell it from others of the same algorithm
    algorithm: str
    key: str  # twelve hex digits of the SHA-256 of the specification without its seed
    trials: tuple[Trial, ...]  # those that count, by seed: finished, or diverged, which is an end as well
    left_out: tuple[Trial, ...] = ()  # begun and not ended, or failed for a reason that has nothing to do with the algorithm

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(trial.seed for trial in self.trials)

    @property
    def diverged(self) -> int:
        """How many of the counted runs left the finite numbers."""
        return sum(trial.diverged for trial in self.trials)


@dataclass(frozen=True)
class Board:
    """Competitors with one task, start model, budget and evaluation."""

    table: str
    name: str  # the table's, with what tells this protocol from others of the table
    protocol: Mapping[str, Any]
    entries: tuple[Entry, ...]
    broken: tuple[Trial, ...] = field(default=())  # of this table; nobody knows which protocol they had

    @cached_property
    def unit(self) -> str:
        """What the budget counts: samples, environment steps or gradient steps; of imported runs, what they say."""
        if "unit" in self.protocol:
            return str(self.protocol["unit"])
        if self.protocol["tier"] != "control":
            return "samples"
        return "gradient steps" if "log" in str(self.protocol["sampler"]) else "environment steps"

    @cached_property
    def scaled(self) -> bool:
        """Whether scores lie on a scale that means the same on every board: 0 nothing or random actions, 1 all right or known to be
        reached."""
        if self.protocol["tier"] in ("tiny", "full"):
            return True
        trials = [trial for entry in self.entries for trial in entry.trials]
        return any(trial.last("eval_score") != trial.last("eval/return") for trial in trials if "eval/return" in trial.curve)

    def entry(self, label: str) -> Entry | None:
        """The entry of this label; of an algorithm's name, where only one entry has it."""
        named = [entry for entry in self.entries if entry.label == label] or [e for e in self.entries if e.algorithm == label]
        return named[0] if len(named) == 1 else None


def boards(trials: Iterable[Trial]) -> list[Board]:
    """Every table and protocol that has runs, sorted by name. The same run met twice counts once."""
    broken, found = defaultdict[str, list[Trial]](list), defaultdict[tuple[str, str], dict[str, Trial]](dict)
    for trial in trials:
        if trial.state == "broken":
            broken[trial.table].append(trial)
        else:
            found[trial.table, files.canonical(protocol(trial.spec))].setdefault(trial.run_id, trial)
    tables = sorted({table for table, _ in found} | set(broken))
    made = []
    for table in tables:
        groups = [list(group.values()) for (name, _), group in sorted(found.items()) if name == table]
        protocols = [protocol(group[0].spec) for group in groups]
        for group, own in zip(groups, protocols, strict=True):
            made.append(Board(table, _titled(table, own, protocols), own, _entries(group), tuple(broken[table])))
        if not groups:
            made.append(Board(table, table, {"tier": "unknown"}, (), tuple(broken[table])))
    return made


def protocol(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs must share to be compared: task, tier, start model, budget and how they are evaluated."""
    train = spec.get("train", {})
    held = {name: spec.get(name) for name in ("task", "tier", "model", "budget")}
    held["sampler"] = "log" if (spec.get("sampler") or {}).get("name") == "log" else "own"
    return held | {name: train[name] for name in EVALUATION if name in train}


def _titled(table: str, own: Mapping[str, Any], all_of: Sequence[Mapping[str, Any]]) -> str:
    if len(all_of) == 1:
        return table
    differing = _differing(all_of)
    flat = _flat(own)
    return f"{table} ({', '.join(f'{_short(name)} {_text(flat.get(name))}' for name in differing)})"


def _entries(trials: Sequence[Trial]) -> tuple[Entry, ...]:
    groups = defaultdict[str, list[Trial]](list)
    for trial in trials:
        plain = {name: value for name, value in trial.spec.items() if name != "seed"}
        groups[hashlib.sha256(files.canonical(plain).encode()).hexdigest()[:12]].append(trial)
    named = {
        key: _label(group[0], [g[0] for g in groups.values() if g[0].algorithm == group[0].algorithm]) for key, group in groups.items()
    }
    entries = [_entry(named[key], key, group) for key, group in groups.items()]
    return tuple(sorted(entries, key=lambda entry: (entry.algorithm, entry.label, entry.key)))


def _entry(label: str, key: str, trials: Sequence[Trial]) -> Entry:
    ordered = sorted(trials, key=lambda trial: trial.seed)
    counted = tuple(t for t in ordered if t.state == "finished" or (t.state == "failed" and t.diverged))
    return Entry(label, trials[0].algorithm, key, counted, tuple(t for t in ordered if t not in counted))


def _label(trial: Trial, rivals: Sequence[Trial]) -> str:
    """The algorithm's name with the settings in which its variants differ."""
    if len(rivals) == 1:
        return trial.algorithm
    own = _flat({name: value for name, value in trial.spec.items() if name != "seed"})
    differing = _differing([{k: v for k, v in rival.spec.items() if k != "seed"} for rival in rivals])
    return " ".join([trial.algorithm, *(f"{_short(name)}={_text(own.get(name))}" for name in differing)])


def _differing(held: Sequence[Mapping[str, Any]]) -> list[str]:
    flat = [_flat(one) for one in held]
    return [name for name in sorted({n for one in flat for n in one}) if len({repr(one.get(name)) for one in flat}) > 1]


def _flat(held: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in held.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
