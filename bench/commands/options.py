"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Results = Annotated[Path, typer.Option("--results", help="Folder that holds all runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines for machines.")]
Track = Annotated[list[str] | None, typer.Option("--track", help="Show it in tensorboard, wandb or trackio as well; may be repeated.")]
