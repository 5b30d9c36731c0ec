"""`bench run` and `bench resume`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.options import AsJson, Results, Track
from bench.launch import launched

if TYPE_CHECKING:
    from bench.config import RunSpec
    from bench.ranks import Ranks
    from bench.record import Record
    from bench.store import RunStore
    from bench.tracking.observer import Tracking


def run(
    algo: Annotated[str, typer.Option("--algo", help="Algorithm; `bench ls algorithms` lists them.")],
    task: Annotated[str, typer.Option("--task", help="Task; `bench ls tasks` lists them.")],
    tier: Annotated[
        str, typer.Option(help="tiny (a small model on the CPU) or full (real data, a GPU); by default what the machine has.")
    ] = "",
    sampler: Annotated[str, typer.Option(help="How completions are sampled: hf, or vllm where it is installed beside a GPU.")] = "",
    model: Annotated[str, typer.Option(help="Folder or Hugging Face id of the start model; by default the task's own base.")] = "",
    reward: Annotated[
        str, typer.Option(help="What pays for a completion: verifier, or model, one that learns from it first.")
    ] = "verifier",
    seed: Annotated[int, typer.Option(help="Everything random in the run follows from it.")] = 0,
    seeds: Annotated[str, typer.Option(help="Several seeds, a run each: 0..9, or 0,3,5. On Gymnasium they train together.")] = "",
    budget: Annotated[int, typer.Option(help="Completions to generate for training, or steps to take on Gymnasium; 0: the recipe's.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="PART.NAME=VALUE with algo, task, sampler, train, reward or model as part.")
    ] = None,
    track: Track = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Train. The same command continues a run that was stopped, and shows one that is finished."""
    from dataclasses import replace

    from bench.errors import ConfigError
    from bench.registry import load
    from bench.resolve import Request, read_seeds, resolve
    from bench.store import RunStore

    request = Request(
        algorithm=algo,
        task=task,
        tier=tier,
        sampler=sampler,
        model=model,
        reward=reward,
        seed=seed,
        budget=budget,
        settings=tuple(settings or ()),
    )
    if seeds and seed:
        raise ConfigError(f"--seed {seed} and --seeds {seeds} are both given; leave one out")

    def specs() -> list[RunSpec]:
        found = [resolve(replace(request, seed=one)) for one in (read_seeds(seeds) if seeds else [seed])]
        if not tier and found[0].tier == "tiny":
            why = "No GPU found" if "full" in load("tasks", task).tiers else f"{task} has one tier"
            said = f"{why}: tiny tier, a small model on the CPU. Results are filed as {found[0].table}."
            print(said, file=sys.stderr if as_json else sys.stdout)
        return found

    _train(specs, RunStore(results), as_json, track or ())


def resume(
    run: Annotated[str, typer.Argument(help="Run id, or its first digits.")],
    track: Track = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Continue a run that was stopped, by its id."""
    from bench.config import ImportedSettings
    from bench.errors import ConfigError, StoreError
    from bench.store import RunStore

    store = RunStore(results)

    def specs() -> list[RunSpec]:
        info = store.find(run)
        if info.spec is None:
            raise StoreError(info.error or f"{info.folder} is broken")
        if isinstance(info.spec.train, ImportedSettings):
            raise ConfigError(f"{info.folder} was imported from a log of {info.spec.train.library}; continue it there, and import it again")
        return [info.spec]

    _train(specs, store, as_json, track or ())


def _train(specs: Callable[[], list[RunSpec]], store: RunStore, as_json: bool, track: Sequence[str]) -> None:
    """Where a launcher started several processes, the first one finds out what is to be trained, and alone shows what becomes of it."""
    from bench.tracking.observer import Tracking

    try:
        with _ranks() as ranks:
            found = ranks.does(specs)
            if not ranks.first:
                from bench.run import execute_seeds

                execute_seeds(found, store, lambda spec, record: None, ranks)
                return
            with Tracking(track, store, lambda text: print(f"bench: {text}", file=sys.stderr)) as tracking:
                _execute(found, store, as_json, tracking, ranks)
    except KeyboardInterrupt:
        if launched()[0] == 0:
            print("\nbench: stopped; the same command continues from the last checkpoint", file=sys.stderr)
        raise typer.Exit(130) from None


def _ranks() -> Ranks:
    """This process's place among those that a launcher started."""
    from bench.ranks import Ranks

    return Ranks.open()


def _execute(specs: list[RunSpec], store: RunStore, as_json: bool, tracking: Tracking, ranks: Ranks) -> None:
    from rich.console import Console

    from bench.report.curve import draw
    from bench.run import execute_seeds
    from bench.screen import Live, summary

    if as_json:
        many = len(specs) > 1

        def show(spec: RunSpec, record: Record) -> None:
            named = {"seed": spec.seed} if many else {}
            print(json.dumps(named | {k: v for k, v in asdict(record).items() if k != "items"}), flush=True)

        for spec, result in zip(specs, execute_seeds(specs, store, tracking.beside(show), ranks), strict=True):
            print(
                json.dumps(
                    ({"seed": spec.seed} if many else {})
                    | {"run_id": spec.run_id, "folder": str(result.folder), "score": _final(result.records)}
                )
            )
        return
    console, spec = Console(), specs[0]
    seeds = f"seed {spec.seed}, run {spec.run_id}" if len(specs) == 1 else f"seeds {', '.join(str(s.seed) for s in specs)}"
    console.print(f"[bold]{spec.algorithm.name}[/] on {spec.table}, {spec.budget} {spec.unit}, {seeds}", highlight=False)
    with Live(console, specs) as live:
        results = execute_seeds(specs, store, tracking.beside(live.observe), ranks)
    for spec, result in zip(specs, results, strict=True):
        picture = result.folder / "curve.png"
        warnings = list(result.warnings)
        try:
            draw(result.records, f"{spec.algorithm.name} on {spec.table}, seed {spec.seed}", picture, spec.unit)
        except OSError as error:  # the run is done and stored; only its picture is missing
            warnings.append(f"{picture} could not be written ({error.strerror or error}); the same command draws it again")
        for warning in warnings:
            console.print(f"[yellow]{warning}[/]", highlight=False, soft_wrap=True)
    console.print(summary([result.records for result in results]))
    last = [result.records[-1] for result in results]
    each = "" if len(specs) == 1 else " a seed"
    samples, tokens, updates, cost = (
        sum(getattr(record, name) for record in last) / len(last) for name in ("samples", "tokens", "updates", "cpu_seconds")
    )
    spent = f"{samples:.0f} {spec.unit}" + (f", {tokens:.0f} tokens" if spec.unit == "samples" else "")
    console.print(f"{spent}, {updates:.0f} updates in {cost:.{0 if cost >= 10 else 1}f} CPU-seconds{each}", highlight=False)
    shown = [results[0].folder, *(() if len(specs) == 1 else (results[-1].folder,))]
    console.print("curve: " + " ... ".join(str(folder / "curve.png") for folder in shown), highlight=False, soft_wrap=True)


def _final(records: list[Record]) -> float | None:
    return next((r.eval_score for r in reversed(records) if r.eval_score is not None), None)
