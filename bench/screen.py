"""What a person sees of a run: a live line, then a summary."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.config import RunSpec
from bench.record import Record


class Live:
    """A progress line on a terminal; one line per evaluation elsewhere, so that logs stay short."""

    def __init__(self, console: Console, spec: RunSpec) -> None:
        self.console, self.budget = console, spec.budget
        self.score: float | None = None
        columns = [
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
        ]
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.row = self.bar.add_task(f"{spec.algorithm.name} on {spec.table}", total=spec.budget, state="")

    def observe(self, record: Record) -> None:
        if record.eval_score is not None:
            self.score = record.eval_score
        self.bar.update(self.row, completed=min(record.samples, self.budget), state=self._state(record))
        if record.eval_score is not None and not self.console.is_terminal:
            self.console.print(self._state(record) + f"  {record.seconds:5.0f} s", highlight=False, soft_wrap=True)

    def _state(self, record: Record) -> str:
        figures = {"score": self.score, "entropy": record.probes.get("entropy/token"), "gate": record.probes.get("gate")}
        shown = "  ".join(f"{name} {'   - ' if value is None else f'{value:5.3f}'}" for name, value in figures.items())
        return f"step {record.step:4d}  samples {record.samples:6d}  {shown}"

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()


SUMMARY = (
    ("held-out score (pass@1)", "eval/pass@1", "{:.3f}"),
    ("pass@8", "eval/pass@8", "{:.3f}"),
    ("lenient score", "eval/lenient", "{:.3f}"),
    ("completion length (tokens)", "eval/length", "{:.1f}"),
    ("cut by the limit", "eval/truncated", "{:.3f}"),
    ("entropy (nats per token)", "entropy/token", "{:.3f}"),
    ("gate (share of gradient kept)", "gate", "{:.3f}"),
)


def summary(records: list[Record]) -> Table:
    """First, best and last value of the headline figures."""
    table = Table(title="", show_edge=False, pad_edge=False)
    for name in ("", "start", "best", "end"):
        table.add_column(name, justify="left" if not name else "right")
    for title, key, form in SUMMARY:
        values = [r.probes[key] for r in records if key in r.probes]
        if values:
            best = max(values) if key.startswith("eval/pass") else None
            table.add_row(title, form.format(values[0]), "" if best is None else form.format(best), form.format(values[-1]))
    return table
