"""What a sweep would do, without doing it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.store import RunStore
from bench.sweep.costs import duration
from bench.sweep.jobs import Job, ranges
from bench.sweep.tally import STATES, Known, Tally


def preview(jobs: Sequence[Job], store: RunStore, workers: int, console: Console, as_json: bool) -> None:
    """Each cell with its state and what is left to be spent on it, by what runs in the results folder have cost."""
    tally = Tally(jobs, store)
    for info in store.runs():
        if info.spec is not None and info.last is not None:
            tally.costs.learn(info.spec, info.last.samples, info.last.seconds)
    if as_json:
        for run, known in tally.runs.items():
            who = {"algorithm": known.label, "table": known.spec.table, "seed": known.spec.seed, "run_id": run}
            print(
                json.dumps(
                    {
                        **who,
                        "state": known.state,
                        "samples": known.samples,
                        "budget": known.spec.budget,
                        "seconds_left": _cost(tally, [known]),
                    }
                )
            )
        return
    table = Table("algorithm", "table", "budget", "seeds", show_edge=False, pad_edge=False)
    table.add_column("left, about", justify="right")
    rows: dict[tuple[str, str, int], list[Known]] = {}
    for known in tally.runs.values():
        rows.setdefault((known.label, known.spec.table, known.spec.budget), []).append(known)
    for (label, name, budget), runs in rows.items():
        states = {state: [known.spec.seed for known in runs if known.state == state] for state in STATES}
        words = [f"{ranges(seeds)} {'to run' if state == 'waiting' else state}" for state, seeds in states.items() if seeds]
        table.add_row(label, name, f"{budget} {runs[0].spec.unit}", "; ".join(words), _said(_cost(tally, runs)))
    console.print(table)
    left = [known for known in tally.runs.values() if known.state == "waiting"]
    total = _cost(tally, left)
    told = "" if total is None else f", about {duration(total / max(1, workers))} with {workers} worker{'s' * (workers != 1)}"
    unknown = "" if total is not None or not left else "; what they cost is not known before a run of each table has begun"
    console.print(f"{len(tally.runs)} cells, {len(left)} to run{told}{unknown}", highlight=False, soft_wrap=True)


def _cost(tally: Tally, runs: Sequence[Known]) -> float | None:
    """Seconds left of the runs that are to be run; None where nothing is known of one of them."""
    costs = [tally.costs.seconds(known.spec, known.samples) for known in runs if known.state in ("waiting", "elsewhere")]
    return None if None in costs else sum(cost for cost in costs if cost is not None)


def _said(cost: float | None) -> str:
    return "?" if cost is None else duration(cost) if cost else ""
