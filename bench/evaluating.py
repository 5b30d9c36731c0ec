"""Scores a checkpoint on a text task without training it: chunk by chunk, each on the disk before the next begins."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import evaluation, files, registry
from bench.errors import ConfigError, MissingError, StoreError
from bench.eval_plan import Work
from bench.evaluated import Item, rows, summary
from bench.provenance import provenance
from bench.rollout import collect, collect_greedy
from bench.trained import trained_policy
from bench.verifying import MOST_WORKERS, Verifier, usable_cores
from tasks.base import Problem

CHUNK = 512  # completions sampled together; what is drawn depends on it
ALL = 10**9  # more problems than a finite split has

Watch = Callable[[int, int, float], None]  # problems done, of how many, their strict score so far


def default_path(work: Work, results: Path) -> Path:
    """Where an evaluation is written that names no file."""
    table = "-".join([work.plan.task.name, *([str(work.plan.task.settings["id"])] if "id" in work.plan.task.settings else [])])
    return results / "evaluations" / f"{table}-{work.plan.tier}".replace("/", "-") / f"{work.plan.id}.json"


def execute(work: Work, path: Path, watch: Watch) -> dict[str, Any]:
    """The report, as it is in the file: scored now, gone on with where it was stopped, or read where it was finished before.

    Raises BenchError; what was scored before that stays beside the file, and the same call continues from it.
    """
    held = _finished(work, path)
    if held is not None:
        return held
    problems = _problems(work)
    key = evaluation.key(problems)
    part = path.with_name(path.name + ".part")
    with files.guarded(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        chunks = _begun(part, {"plan": work.plan.to_json(), "key": key})
    if sum(len(chunk["items"]) for chunk in chunks) < len(problems):
        _score(work, problems, chunks, part, watch)
    items = _items(chunks)
    report = {
        "id": work.plan.id,
        **work.plan.to_json(),
        "scores": summary(items),
        "key": key,  # equal keys: the same problems in order
        "seconds": round(sum(chunk["seconds"] for chunk in chunks), 3),
        "loaded": chunks[-1]["loaded"],
        "provenance": provenance(),
        "items": rows(items),
    }
    with files.guarded(path):
        files.replace(path, json.dumps(report, indent=1) + "\n")
        part.unlink(missing_ok=True)
    return report


def _finished(work: Work, path: Path) -> dict[str, Any] | None:
    """The report that is there already. Raises StoreError where the file is another evaluation's."""
    if not path.exists():
        return None
    held: Any = None
    with suppress(OSError, ValueError):
        held = json.loads(path.read_bytes())
    if not isinstance(held, dict) or held.get("id") != work.plan.id:
        raise StoreError(f"{path} is there and holds something else; choose another --out, or remove it")
    return held


def _problems(work: Work) -> list[Problem]:
    try:
        found = evaluation.problems(work.task, work.plan.split, work.plan.problems or ALL)
    except (OSError, ImportError, ValueError) as error:
        raise MissingError(str(error)) from error
    if not found:
        raise ConfigError(f"the split {work.plan.split} of {work.plan.task.name} is empty; choose another --split or data set")
    return found


def _items(chunks: Sequence[dict[str, Any]]) -> list[Item]:
    return [Item(**item) for chunk in chunks for item in chunk["items"]]


def _begun(part: Path, header: dict[str, Any]) -> list[dict[str, Any]]:
    """What an interrupted call left. Raises StoreError where it is another evaluation's."""
    files.drop_torn_tail(part)
    held = files.lines(part)
    if not held:
        files.append(part, files.canonical(header) + "\n")
        return []
    if held[0] != header:
        raise StoreError(f"{part} is what is left of another evaluation; choose another --out, or remove it")
    return held[1:]


def _score(work: Work, problems: Sequence[Problem], chunks: list[dict[str, Any]], part: Path, watch: Watch) -> None:
    """Adds what is missing to `chunks` and to the file; the first one's seconds hold those of loading the model."""
    plan, before = work.plan, time.perf_counter()
    policy = trained_policy(work.spec, work.checkpoint)
    session = registry.load("samplers", plan.sampler.name)(**plan.sampler.settings).open(policy)
    workers = min(MOST_WORKERS, usable_cores())
    items, take, loaded = _items(chunks), max(1, CHUNK // plan.completions), policy.facts()
    try:
        with Verifier(work.task, workers) as verifier:
            while len(items) < len(problems):
                first = len(items)
                chunk = problems[first : first + take]
                if plan.greedy:
                    groups = collect_greedy(policy, session, verifier, chunk, plan.limit)
                else:
                    groups = collect(policy, session, verifier, chunk, plan.completions, plan.limit, f"eval:{plan.seed}:{first}")
                made, now = [Item.of(group) for group in groups], time.perf_counter()
                chunks.append({"items": rows(made), "seconds": now - before, "loaded": loaded})
                with files.guarded(part):
                    files.append(part, files.canonical(chunks[-1]) + "\n")
                items, before = items + made, now
                watch(len(items), len(problems), sum(map(sum, (item.strict for item in items))) / len(items) / plan.completions)
    finally:
        session.close()
