"""TensorBoard, through torch's SummaryWriter: one event folder by samples and one by tokens, as it knows one step axis only."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from bench.config import CONTROL, RunSpec
from bench.record import Record
from bench.tracking.base import Shown


class TensorBoard:
    """Event files in the run's folder; `tensorboard --logdir results` finds them."""

    needs: ClassVar[tuple[str, ...]] = ("tensorboard", "torch")
    extra: ClassVar[str] = "track"
    durable: ClassVar[bool] = True

    def start(self, spec: RunSpec, folder: Path, shown: Shown | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        axes = ("samples",) if spec.tier == CONTROL else ("samples", "tokens")  # a control run's tokens are its steps
        # What a killed process may have half written after the last record that is known to be there is not to be shown.
        after = {axis: None if shown is None else getattr(shown, axis) + 1 for axis in axes}
        self.writers = {axis: SummaryWriter(str(folder / axis), purge_step=after[axis]) for axis in axes}
        if shown is None:
            self.writers["samples"].add_text("hyperparameters", _table(asdict(spec)))

    def log(self, record: Record, values: dict[str, float]) -> None:
        for axis, writer in self.writers.items():
            for name, value in values.items():
                writer.add_scalar(name, value, getattr(record, axis))
            writer.flush()

    def finish(self, summary: dict[str, float], failed: bool) -> None:
        for writer in self.writers.values():
            writer.close()


def _table(spec: dict[str, Any]) -> str:
    """The specification as CleanRL shows it."""
    return "|param|value|\n|-|-|\n" + "\n".join(f"|{name}|{value}|" for name, value in flat(spec).items())


def flat(held: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    found: dict[str, Any] = {}
    for name, value in held.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found
