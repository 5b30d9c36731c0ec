"""Cheap made-up runs in real run folders: what the tests of boards, statistics, figures and pages share.

    board(tmp_path, {"grpo": 0.7, "ppo": 0.6})                       # five finished seeds each on last_digit-tiny, 64 held-out items
    finished(tmp_path, spec("grpo", 0), scores=[0.1, 0.5, 0.4])      # one run, its evaluations given; no items: an older version's
    finished(tmp_path, spec("grpo", 1), items=[[0, 1], [1, 1]])      # two evaluations of two items; their means are the scores
    many(tmp_path, algorithms=("grpo", "ppo"), seeds=range(500))     # thousands, quickly

Everything goes through RunStore, so a folder is what a run leaves, but for the checkpoint.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import numpy

from bench.config import CONTROL, Choice, RunSpec, TrainSettings
from bench.control_settings import SegmentSettings
from bench.record import Items, Record
from bench.run_folder import CURVE, DONE, TIMING, Failure
from bench.store import RunStore

PROVENANCE: dict[str, Any] = {"bench": "0.1.0", "python": "3.11.7", "cpu": "a test's", "packages": {"torch": "2.13.0"}, "threads": 1}


def spec(algorithm: str, seed: int, task: str = "last_digit", *, budget: int = 1000, tier: str = "tiny", **settings: Any) -> RunSpec:
    """A specification nobody needs to be able to run; `settings` are the algorithm's. tier "control": a task on Gymnasium."""
    control = tier == CONTROL
    return RunSpec(
        algorithm=Choice(algorithm, settings),
        task=Choice(task, {"autoreset": "none"} if control else {}),
        tier=tier,
        sampler=Choice("own" if control else "hf"),
        model=Choice("none" if control else f"base:{task}"),
        seed=seed,
        budget=budget,
        train=SegmentSettings() if control else TrainSettings(),
    )


def finished(
    root: Path,
    spec: RunSpec,
    scores: Sequence[float] = (),
    items: Sequence[Sequence[float]] | None = None,
    *,
    end: str = "finished",
    key: str = "items of a test",
    provenance: Mapping[str, Any] = PROVENANCE,
    probes: Mapping[str, Sequence[float]] | None = None,
) -> Path:
    """The folder of a run with these evaluations, evenly spaced over its budget, and a record without one between each two.

    `scores` (E,), NaN for none, or `items` (E, K), whose means are the scores. `end`: finished; stopped; or a kind of failure, such as
    diverged. `probes`: E values each; entropy, gate and return are made up where they are not given.
    """
    means = [float(numpy.mean(row)) for row in items] if items is not None else list(scores)
    last = 2 * (len(means) - 1)
    with _unsynced(), RunStore(root, reserve=0).open(spec, dict(provenance)) as folder:
        for step in range(last + 1):
            share, (i, between) = step / max(1, last), divmod(step, 2)
            between = between or int(numpy.isnan(means[i]))
            known = {"entropy/token": 1.0 - 0.5 * share, "gate": 1.0}
            known |= {} if between else {"eval/return": 500 * means[i]} if spec.tier == CONTROL else {"eval/pass@1": means[i]}
            known |= {name: given[i] for name, given in (probes or {}).items() if not (between and name.startswith("eval/"))}
            if between:
                folder.append(_record(spec, step, share, None if numpy.isnan(means[i]) else means[i], None, known, None))
                continue
            kept = None if items is None else Items(key, tuple(float(value) for value in items[i]))
            folder.append(_record(spec, step, share, means[i], means[i], known, kept), _samples(i))
        if end == "finished":
            folder.finish({"score": None if numpy.isnan(means[-1]) else means[-1], "samples": spec.budget})
        elif end != "stopped":
            folder.fail(cast(Failure, end), f"made up to have ended so: {end}")
    return folder.path


def board(
    root: Path,
    levels: Mapping[str, float],
    seeds: Iterable[int] = range(5),
    items: int = 64,
    tasks: Sequence[str] = ("last_digit",),
    *,
    noise: float = 0.02,
    points: int = 5,
    tier: str = "tiny",
    budget: int = 1000,
) -> None:
    """Finished runs that climb to about the level of their algorithm: what differs between items is common to all, between seeds is
    `noise`, and the rest is one answer in eight."""
    for task in tasks:
        ease = numpy.random.default_rng([*task.encode()]).normal(0, 0.1, items)
        for algorithm, level in levels.items():
            for seed in seeds:
                chance = numpy.random.default_rng([seed, *task.encode(), 0, *algorithm.encode()])
                ends = level + chance.normal(0, noise)
                rise = numpy.linspace(0.3, 1.0, points)[:, None] * numpy.clip(ends + ease, 0.01, 0.99)
                rows = chance.binomial(8, rise) / 8
                finished(root, spec(algorithm, seed, task, tier=tier, budget=budget), items=rows.tolist())


def many(root: Path, algorithms: Sequence[str] = ("grpo", "ppo"), seeds: Iterable[int] = range(100), records: int = 200) -> int:
    """Thousands of finished runs of about that many records without items, two milliseconds each; how many."""
    seeds = list(seeds)
    for algorithm in algorithms:
        rise = numpy.linspace(0.2, 0.8, records // 2)
        first = finished(root, spec(algorithm, seeds[0]), rise.tolist())
        around = re.split(r'(?<="eval_score":)[0-9.]+', (first / CURVE).read_text())
        for seed in seeds[1:]:
            scores = [*(rise * numpy.random.default_rng([seed, *algorithm.encode()]).uniform(0.8, 1.2)), ""]
            with _unsynced(), RunStore(root, reserve=0).open(spec(algorithm, seed), PROVENANCE) as opened:
                (opened.path / CURVE).write_text("".join(f"{text}{score}" for text, score in zip(around, scores, strict=True)))
                for name in (TIMING, DONE):
                    (opened.path / name).write_bytes((first / name).read_bytes())
    return len(algorithms) * len(seeds)


def _record(
    spec: RunSpec, step: int, share: float, train: float | None, score: float | None, probes: dict[str, float], items: Items | None
) -> Record:
    samples = round(spec.budget * share)
    return Record(step, samples, 20 * samples, samples, 4 * step, 1.5 * step, 1.25 * step, train, score, probes, items)


def _samples(i: int) -> list[dict[str, Any]]:
    return [{"id": f"test/{i}", "prompt": "4703", "text": "#### 3", "reward": 1.0, "correct": 1.0, "parts": {"strict": 1.0}}]


@contextmanager
def _unsynced() -> Iterator[None]:
    """A test's folders need not survive the loss of power."""
    with patch.object(os, "fsync", lambda number: None):
        yield
