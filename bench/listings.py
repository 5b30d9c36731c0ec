"""Tables for `bench ls`, `bench check` and `bench doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import registry
from bench.errors import unknown
from bench.store import RunStore


def plugins(kind: str, markdown: bool, as_json: bool) -> None:
    """Every plug-in of a kind with the first line of its documentation; broken ones with their error."""
    if markdown:
        print(registry.markdown(kind), end="")
        return
    entries = registry.listing(kind)
    if as_json:
        for entry in entries:
            print(json.dumps(asdict(entry) | (_protocol(entry) if kind == "tasks" else {})))
        return
    table = Table("name", "what it does", "from")
    for entry in entries:
        table.add_row(entry.name, entry.about if entry.error is None else f"[red]{escape(entry.error)}[/]", entry.origin)
    Console().print(table)


def _protocol(entry: registry.Entry) -> dict[str, Any]:
    """How a task's full tier is asked and read, where it has one."""
    if entry.error is not None:
        return {}
    task = registry.load("tasks", entry.name)
    at = {"tier": "full"} if "tier" in task.__dataclass_fields__ else {}
    stated = task(**at | task.presets.get("full", {})).protocol() if "full" in task.tiers else None
    return {"protocol": None if stated is None else stated.facts()}


def runs(store: RunStore, as_json: bool) -> None:
    """Every run with its state and newest score; broken folders with their error."""
    found = store.runs()
    if as_json:
        for info in found:
            last = asdict(info.last) if info.last else None
            print(json.dumps({"run_id": info.run_id, "folder": str(info.folder), "state": info.state, "last": last, "error": info.error}))
        return
    if not found:
        print(f"no runs in {store.root}; `bench run --algo gspo --task gsm8k` makes one")
        return
    table = Table("run", "table", "algorithm", "seed", "state", "spent", "score")
    for info in found:
        folder = info.folder
        if info.spec is None:
            table.add_row(info.run_id, folder.parents[1].name, folder.parent.name, "", "[red]broken[/]", "", escape(info.error or ""))
            continue
        scores = [r.eval_score for r in info.records() if r.eval_score is not None]
        samples = str(info.last.samples) if info.last else "0"
        score = f"{scores[-1]:.3f}" if scores else ""
        paid = " (reward model)" if info.spec.reward.name == "model" else ""
        table.add_row(info.run_id, info.spec.table, info.spec.algorithm.name + paid, str(info.spec.seed), info.state, samples, score)
    Console().print(table)


def checks(name: str, as_json: bool) -> bool:
    """Run every contract on the plug-in of this name, whatever its kind; True where all hold. Raises ConfigError for an unknown name."""
    from bench import checks as contracts

    kinds = [kind for kind in registry.KINDS if name in registry.names(kind)]
    if not kinds:
        raise unknown("plug-in", name, (known for kind in registry.KINDS for known in registry.names(kind)))
    held = True
    table = Table("contract", "holds", "detail", title=f"{name} ({', '.join(kinds)})")
    for kind in kinds:
        for outcome in contracts.run(kind, name):
            held = held and outcome.passed
            if as_json:
                print(json.dumps({"kind": kind, **asdict(outcome)}), flush=True)
            else:
                table.add_row(outcome.title, mark(outcome.passed) if outcome.applies else "-", escape(outcome.detail))
    if not as_json:
        Console().print(table)
    return held


def collected(task: str, out: Path | None, seed: int) -> None:
    """Make a log again, and show who acted for it and how well."""
    from bench.collect import collect

    found = collect(task, out, seed)
    table = Table("policy", "steps of training", "episodes", "steps", "return, lowest", "median", "highest", title=f"{task}, seed {seed}")
    for part in (*found["parts"], {"policy": "all", "steps_of_training": "", **found}):
        numbers = (f"{part[name]:.0f}" for name in ("episodes", "transitions", "return_q0", "return_q50", "return_q100"))
        table.add_row(part["policy"], str(part["steps_of_training"]), *numbers)
    Console().print(table)


def mark(holds: bool) -> str:
    """yes or no, in its colour."""
    return "[green]yes[/]" if holds else "[red]no[/]"


def doctor(results: Path, as_json: bool) -> None:
    """What this machine has and lacks, each lack with its remedy."""
    from bench.doctor import report

    findings = report(results)
    if as_json:
        for finding in findings:
            print(json.dumps(asdict(finding)))
        return
    table = Table("", "what")
    for name in ("found", "remedy"):
        table.add_column(name, overflow="fold")  # a pip line that is cut short helps nobody
    marks = {"ok": "[green]ok[/]", "missing": "[red]missing[/]", "note": "[yellow]note[/]"}
    for finding in findings:
        table.add_row(marks[finding.state], finding.name, escape(finding.detail), escape(finding.remedy))
    Console().print(table)
