"""Weights & Biases: offline, unless WANDB_MODE or a login says otherwise; `wandb sync` brings an offline run up later."""

from __future__ import annotations

import netrc
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from bench.config import RunSpec
from bench.record import Record
from bench.tracking.base import Shown

HOST = "https://api.wandb.ai"


class WandB:
    """One run of Weights & Biases with our run id, so that a continued run is the same one there."""

    needs: ClassVar[tuple[str, ...]] = ("wandb",)
    extra: ClassVar[str] = "track"
    durable: ClassVar[bool] = True

    def start(self, spec: RunSpec, folder: Path, shown: Shown | None) -> None:
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "bench"),
            id=spec.run_id,
            name=f"{spec.algorithm.name} on {spec.table}, seed {spec.seed}",
            group=f"{spec.algorithm.name} on {spec.table}",
            config=asdict(spec),
            dir=folder,
            mode=mode(),
            resume="allow",
            reinit="create_new",  # seeds that train together are runs side by side
            settings=wandb.Settings(silent=True, console="off", save_code=False, x_disable_stats=True),
        )
        self.run.define_metric("global_step")
        self.run.define_metric("*", step_metric="global_step")

    def log(self, record: Record, values: dict[str, float]) -> None:
        self.run.log(values | {"global_step": record.samples}, step=record.step, commit=True)  # else kept back until the next step

    def finish(self, summary: dict[str, float], failed: bool) -> None:
        for name, value in summary.items():
            self.run.summary[f"last/{name}"] = value
        self.run.finish(exit_code=int(failed))


def mode() -> Literal["online", "offline"] | None:
    """Online where somebody has logged in, offline where nobody has; None where WANDB_MODE says it to the library itself."""
    if os.environ.get("WANDB_MODE"):
        return None
    host = urlsplit(os.environ.get("WANDB_BASE_URL", HOST)).hostname or ""
    known = bool(os.environ.get("WANDB_API_KEY"))
    with suppress(OSError, netrc.NetrcParseError):
        known = known or netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return "online" if known else "offline"
