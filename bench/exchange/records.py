"""From another library's log to records of ours."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from bench.errors import ConfigError, unknown
from bench.exchange.log import Log, Names
from bench.record import Items, Record

Scale = Callable[[float], float]
Means = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a log is read: which metric is the score, on what scale, and how much one step is."""

    score: str = ""  # by the log's own name; empty: nothing is
    completions: float | None = None  # of text, per step; None: nobody knows, and steps are counted
    scale: Scale | None = None  # of a return
    limit: int = 1000  # records at the most
    key: str = ""  # tells this run's evaluated episodes from those of others, which began elsewhere


def score_of(log: Log, names: Names, asked: str) -> str:
    """The metric that is the held-out score; nothing where the log has no evaluation. Raises ConfigError for a choice that is open, and for
    a metric that the log does not have."""
    if asked:
        if asked not in log.series:
            raise unknown(f"metric in {log.source}", asked, log.series)
        return asked
    for pattern in names.judged:
        found = sorted(name for name in log.series if fnmatchcase(name, pattern))
        if len(found) > 1:
            raise ConfigError(f"{log.source} has several evaluations ({', '.join(found)}); choose one by --score")
        if found:
            return found[0]
    return ""


def records(log: Log, names: Names, reading: Reading) -> list[Record]:
    """One record for each step at which something is known, in order; of more than `limit`, as many even stretches, with means of what
    was logged in each. Raises ConfigError for a log that holds nothing."""
    steps = log.steps()
    if not steps:
        raise ConfigError(f"{log.source} holds no value of a metric; leave it out")
    into = _stretches(steps, reading.limit)
    held: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, pairs in log.series.items():
        for step, value in pairs:
            held[into[step]][name].append(value)
    clock = {into[step]: seconds for step, seconds in sorted(log.seconds.items()) if step in into}
    items = {into[step]: scores for step, scores in sorted(log.items.items())}
    tokens = _tokens(log, reading.completions)
    made = []
    for step in sorted(set(into.values())):
        counts = {
            "samples": step if reading.completions is None else round(step * reading.completions),
            "tokens": tokens.get(step),
            "verifier_calls": None,
            "updates": step if names.steps_are_updates else None,
            "seconds": clock.get(step),
            "cpu_seconds": None,
        }
        made.append(_record(step, counts, held[step], names, reading, items.get(step)))
    return made


def _record(
    step: int, counts: dict[str, Any], held: Mapping[str, list[float]], names: Names, reading: Reading, items: tuple[float, ...] | None
) -> Record:
    means = {name: math.fsum(values) / len(values) for name, values in held.items()}
    trained = next((name for name in names.trained if name in means), None)
    score, scale = means.get(reading.score), partial(_scaled, names, reading)
    probes = _probes(means, names)
    if "ep/return" in probes:
        probes["ep/count"] = float(len(next(held[name] for name, ours in names.probes.items() if ours == "ep/return" and name in held)))
    kept = None
    if items is not None and reading.score in names.judged:
        kept = Items(f"{reading.key} step {step}", tuple(scale(reading.score, one) for one in items))
    return Record(
        step=step,
        **counts,
        train_score=None if trained is None else scale(trained, means[trained]),
        eval_score=None if score is None else scale(reading.score, score),
        probes=probes,
        items=kept,
    )


def _scaled(names: Names, reading: Reading, name: str, value: float) -> float:
    return reading.scale(value) if reading.scale is not None and name in names.returns else value


def _probes(means: Means, names: Names) -> dict[str, float]:
    """Ours where they mean the same, all others under the library's name."""
    found = {}
    for name, value in means.items():
        ours = names.probes.get(name, f"{names.library}/{name}")
        found[ours] = -value if name in names.negative else value
    return found


def _stretches(steps: Sequence[int], limit: int) -> dict[int, int]:
    """For each step, the last one that shares a record with it."""
    if len(steps) <= limit:
        return {step: step for step in steps}
    first, span = steps[0], steps[-1] - steps[0] + 1
    ends = {(step - first) * limit // span: step for step in steps}
    return {step: ends[(step - first) * limit // span] for step in steps}


def _tokens(log: Log, completions: float | None) -> dict[int, int]:
    """Tokens generated up to each step, from the completions of a step and their mean length, where every stretch has one."""
    lengths = next((log.series[name] for name in ("completions/mean_length", "response_length/mean") if name in log.series), [])
    if completions is None or not lengths:
        return {}
    known, total, before, mean, found = dict(lengths), 0.0, 0, lengths[0][1], {}
    for step in log.steps():
        mean = known.get(step, mean)  # a batch that several steps learn from is logged at the first of them
        total += (step - before) * completions * mean
        before, found[step] = step, round(total)
    return found
