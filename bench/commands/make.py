"""`bench pretrain`, `bench collect` and `bench save`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import Results


def pretrain(
    task: Annotated[str, typer.Argument(help="Task whose tiny base model to make.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; by default tasks/bases/TASK of the installation.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="pretrain.NAME=VALUE, such as pretrain.steps=500.")] = None,
) -> None:
    """Make a task's tiny base model from nothing, and measure it on held-out problems."""
    from bench.bases import make

    make(task, out, seed, tuple(settings or ()))


def collect(
    task: Annotated[str, typer.Argument(help="Task that is a log, such as cartpole_logged.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write to; by default tasks/logs of the installation.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it; 12345 gives the shipped log.")] = 12345,
) -> None:
    """Make a shipped log of mixed quality again, from agents trained here, and say what is in it."""
    from bench import listings

    listings.collected(task, out, seed)


def save(
    run: Annotated[str, typer.Argument(help="Run id, its first digits, or the run's folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must be empty or new.")],
    results: Results = Path("results"),
) -> None:
    """Write what a run on text came to as a checkpoint that transformers and vLLM read; adapters are merged in."""
    from bench.store import RunStore
    from bench.trained import save as write

    folder = Path(run) if (Path(run) / "spec.json").is_file() else RunStore(results).find(run).folder
    print(f"{out}: {folder.parent.name}, run {folder.name}, step {write(folder, out)}")
