"""`bench sweep`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.options import AsJson, Results, Track

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from bench.store import RunStore
    from bench.sweep.engine import Crew
    from bench.sweep.jobs import Job
    from bench.sweep.tally import Tally

Algorithms = Annotated[str | None, typer.Option("--algo", help="Algorithms: gspo,grpo. `bench ls algorithms` lists them.")]
Tasks = Annotated[str | None, typer.Option("--task", help="Tasks: gsm8k,countdown,cartpole. `bench ls tasks` lists them.")]
Tier = Annotated[str | None, typer.Option(help="tiny or full, for tasks on text; by default what the machine has.")]
Sampler = Annotated[str | None, typer.Option(help="How completions are sampled; `bench ls samplers` lists them.")]
Model = Annotated[str | None, typer.Option(help="Folder or Hugging Face id of the start model; by default each task's own base.")]
Reward = Annotated[str | None, typer.Option(help="What pays for a completion: verifier, or model, one that learns from it first.")]
Budget = Annotated[int | None, typer.Option(help="Completions or steps of each run; by default each task's recipe's.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="PART.NAME=VALUE for all; NAME:PART.NAME=VALUE for one algorithm or task, such as grpo:algo.kl=0.1."),
]
Workers = Annotated[int, typer.Option(help="Processes at a time; 0: one for each usable core, or GPU at the full tier.")]
Executor = Annotated[str, typer.Option(help="local, or ray: the same cells as tasks of a Ray cluster.")]
Address = Annotated[str, typer.Option("--ray-address", help="Ray cluster to join; by default one is started on this machine.")]


def sweep(
    algo: Algorithms = None,
    task: Tasks = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds of each cell: 0..9, or 0,3,5; by default 0..4.")] = None,
    tier: Tier = None,
    sampler: Sampler = None,
    model: Model = None,
    reward: Reward = None,
    budget: Budget = None,
    settings: Settings = None,
    file: Annotated[Path | None, typer.Option(help="TOML file with the same keys and a [[variant]] for each other setting.")] = None,
    workers: Workers = 0,
    executor: Executor = "local",
    ray_address: Address = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cells, their state and what is left to be spent, and run nothing.")
    ] = False,
    slurm: Annotated[Path | None, typer.Option(help="Write a Slurm array script there instead of running.")] = None,
    only: Annotated[str, typer.Option(help="Of a file of jobs beside such a script, the lines to run: 0, or 0,100,200.")] = "",
    track: Track = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Run every algorithm on every task with every seed. What is finished is skipped, so the same command goes on; exit code 1 where a
    cell failed."""
    from rich.console import Console

    from bench.errors import ConfigError
    from bench.store import RunStore
    from bench.sweep import jobs as all_jobs
    from bench.sweep.preview import preview

    given: dict[str, Any] = {"algo": algo, "task": task, "seeds": seeds, "tier": tier, "sampler": sampler, "model": model, "reward": reward}
    given |= {"budget": budget, "set": tuple(settings or ())}
    console, store = Console(), RunStore(results)
    if only:
        if file is None or any(value not in (None, ()) for value in given.values()):
            raise ConfigError("--only picks lines from a file of jobs: give --file, as `bench sweep --slurm` names it, and nothing else")
        found = _picked(all_jobs.read(file), only)
    else:
        found = _tracked(_jobs(given, file, as_json), track or ())
    hire, count = crew(found, store, executor, ray_address, workers)
    if slurm is not None:
        from bench.slurm import write

        print(write(slurm, found, store.root))
    elif dry_run:
        preview(found, store, count, console, as_json)
    else:
        raise typer.Exit(go(found, store, hire, count, console, as_json))


def _jobs(given: dict[str, Any], file: Path | None, as_json: bool) -> list[Job]:
    """All that a sweep is to run, with every name and value checked; what cannot go together is said."""
    from bench.sweep.cells import Cell, Skipped, cells
    from bench.sweep.jobs import jobs
    from bench.sweep.plan import plans

    found = list(cells(plans(given, file)))
    for each in found:
        if isinstance(each, Skipped):
            told = {"event": "skipped", "algorithm": each.label, "task": each.task, "reason": each.reason}
            print(json.dumps(told) if as_json else f"skipped: {each.label} on {each.task}: {each.reason}", flush=True)
    return jobs(each for each in found if isinstance(each, Cell))


def _tracked(jobs: list[Job], track: Sequence[str]) -> list[Job]:
    """The jobs with their trackers, each of which is known to be installed."""
    from dataclasses import replace

    from bench.tracking.observer import tracker

    for name in track:
        tracker(name)
    return [replace(job, track=tuple(track)) for job in jobs]


def _picked(jobs: list[Job], only: str) -> list[Job]:
    from bench.errors import ConfigError
    from bench.resolve import read_seeds

    places = read_seeds(only)
    if max(places) >= len(jobs):
        raise ConfigError(f"--only {only}, but the file holds {len(jobs)} jobs, 0 to {len(jobs) - 1}; give one of these")
    return [jobs[place] for place in places]


def crew(jobs: Sequence[Job], store: RunStore, executor: str, address: str, workers: int) -> tuple[Callable[[Sequence[Job]], Crew], int]:
    """Who runs jobs, to be had once it is known which are left; and how many at a time."""
    from bench.errors import ConfigError, unknown
    from bench.sweep.local import LocalCrew
    from bench.sweep.slots import slots

    if executor == "ray":
        from bench.sweep.cluster import RayCrew, require

        require()
        return lambda left: RayCrew(store, address, workers), workers
    if executor != "local":
        raise unknown("executor", executor, ("local", "ray"))
    if address:
        raise ConfigError(f"--ray-address {address} is for --executor ray; add that, or leave it out")
    return lambda left: LocalCrew(slots(left, workers), store), len(slots(jobs, workers))


def go(
    jobs: list[Job],
    store: RunStore,
    hire: Callable[[Sequence[Job]], Crew],
    workers: int,
    console: Console,
    as_json: bool,
    brief: bool = False,
) -> int:
    """The exit code: 0 where every cell has ended, 1 where some failed, 130 after Ctrl-C."""
    from bench.sweep.run import screen_for, sweep
    from bench.sweep.screen import summary
    from bench.sweep.tally import Tally

    tally = Tally(jobs, store)
    _say_start(tally, as_json)
    try:
        sweep(jobs, store, hire, tally, screen_for(tally, console, as_json, workers))
    except KeyboardInterrupt:
        tally.stop()
        if not as_json:
            summary(tally, console)
        left = len(tally.runs) - sum(tally.count()[state] for state in ("finished", "diverged"))
        print(f"bench: stopped with {left} of {len(tally.runs)} cells to go; the same command goes on where they are", file=sys.stderr)
        return 130
    if as_json:
        print(json.dumps({"event": "over", **dict(sorted(tally.count().items()))}))
    else:
        summary(tally, console, brief)
    return 1 if tally.count()["failed"] else 0


def _say_start(tally: Tally, as_json: bool) -> None:
    """What there is to do, and what is already there."""
    from bench.registry import load

    if any(known.spec.tier == "tiny" and "full" in load("tasks", known.spec.task.name).tiers for known in tally.runs.values()):
        print("tiny tier: small models on the CPU", file=sys.stderr if as_json else sys.stdout)
    count = tally.count()
    ended = count["finished"] + count["diverged"]
    if not as_json:
        there = f", {ended} of them there already" if ended else ""
        print(f"{len(tally.runs)} cells{there}")
