"""`bench eval`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.commands.options import AsJson, Results


def evaluate(
    model: Annotated[str, typer.Option(help="Folder or Hugging Face id of a model, or the folder of a run, whose newest weights count.")],
    task: Annotated[str, typer.Option("--task", help="Text task; `bench ls tasks` lists them.")],
    tier: Annotated[str, typer.Option(help="tiny or full; by default what the machine has.")] = "",
    split: Annotated[str, typer.Option(help="heldout, or tune.")] = "heldout",
    problems: Annotated[int, typer.Option(help="The first so many problems of the split; 0: the protocol's.")] = 0,
    completions: Annotated[int, typer.Option(help="Sampled completions of each problem; 0: the protocol's.")] = 0,
    greedy: Annotated[bool, typer.Option("--greedy", help="One completion, the likeliest token at every place.")] = False,
    limit: Annotated[int, typer.Option(help="Tokens of a completion; 0: the protocol's.")] = 0,
    sampler: Annotated[str, typer.Option(help="How completions are sampled; `bench ls samplers` lists them.")] = "hf",
    seed: Annotated[int, typer.Option(help="What is sampled follows from it.")] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="PART.NAME=VALUE with task, sampler or model as part.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write; by default one in the results folder.")] = None,
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Score a model on a text task under the task's protocol, without training. The same command continues what was stopped."""
    from bench.eval_plan import Asked, prepare
    from bench.evaluating import default_path, execute

    work = prepare(
        Asked(
            model=model,
            task=task,
            tier=tier,
            split=split,
            problems=problems,
            completions=completions,
            greedy=greedy,
            limit=limit,
            sampler=sampler,
            seed=seed,
            settings=tuple(settings or ()),
        )
    )
    path = out or default_path(work, results)
    try:
        report = execute(work, path, _watch)
    except KeyboardInterrupt:
        print("\nbench: stopped; the same command continues after the last chunk", file=sys.stderr)
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps({name: value for name, value in report.items() if name != "items"} | {"file": str(path)}))
    else:
        _show(report, path)


def _watch(done: int, total: int, score: float) -> None:
    print(f"{done} of {total} problems, strict {score:.3f}", file=sys.stderr, flush=True)


def _show(report: dict[str, Any], path: Path) -> None:
    scores, protocol = report["scores"], report["protocol"]
    way = "greedy" if report["greedy"] else f"{scores['completions']} completions each, temperature 1"
    print(f"{report['model']['name']} on {report['task']['name']}, tier {report['tier']}")
    print(f"{scores['problems']} problems of {report['split']}, {way}, at most {report['limit']} tokens, seed {report['seed']}")
    for name, found in scores.items():
        if isinstance(found, dict):
            print(f"{name:10s} {found['value']:.3f}  ({found['low']:.3f} to {found['high']:.3f}, 95 % over problems)")
    print(f"truncated  {scores['truncated']:.3f}")
    print(f"errors     {scores['errors']:.3f}")
    print(f"length     {scores['length']:.1f} tokens")
    if protocol is None:
        print("protocol: none at the tiny tier; the score compares with this tier's alone")
    else:
        print(f"protocol: {protocol['name']}, digest {protocol['digest']}")
        if report["deviations"]:
            print(f"deviates from it: {'; '.join(report['deviations'])}")
    print(f"written to {path}")
