"""What a person sees of a run: a live line, then a summary."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.config import RewardSettings, RunSpec
from bench.record import Record

FIGURES = (
    ("score", "eval/pass@1"),
    ("belief", "eval/model_belief"),
    ("entropy", "entropy/token"),
    ("gate", "gate"),
    ("pairs in order", "pairs/accuracy"),
    ("critic explains", "value/explained_var"),
)
COIN = 0.55  # share of pairs in order, up to which a reward model has learnt next to nothing


class Live:
    """A progress line on a terminal; one line per evaluation elsewhere, so that logs stay short."""

    def __init__(self, console: Console, spec: RunSpec) -> None:
        self.console, self.budget, self.reward = console, spec.budget, spec.reward
        self.evaluated: dict[str, float] = {}  # the newest evaluation
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
            self.evaluated = {name: value for name, value in record.probes.items() if name.startswith("eval/")}
        if "reward_model/accuracy" in record.probes:
            self._print(quality(record.probes))
        self.bar.update(self.row, completed=min(record.samples, self.budget), state=self._state(record))
        if record.eval_score is not None and not self.console.is_terminal:
            self._print(self._state(record) + f"  {record.seconds:5.0f} s")

    def _state(self, record: Record) -> str:
        known = self.evaluated | record.probes
        shown = "  ".join(f"{name} {known[key]:5.3f}" for name, key in FIGURES if key in known)
        return f"step {record.step:4d}  samples {record.samples:6d}  {shown}"

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self.reward.name == "model":
            cost = RewardSettings(**self.reward.settings).samples
            self._print(f"a reward model pays, once it has learnt from comparisons of {cost} completions, which count as samples")
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()


def quality(probes: Mapping[str, float]) -> str:
    """What a reward model has learnt, and what to do where that is next to nothing."""
    accuracy = probes["reward_model/accuracy"]
    line = (
        f"reward model: learnt from {probes['reward_model/pairs']:.0f} pairs; of pairs on other prompts, {accuracy:.3f} in order "
        f"(a coin: 0.5), margin {probes['reward_model/margin']:.3f}, calibration error {probes['reward_model/calibration_error']:.3f}"
    )
    return line if accuracy > COIN else line + "\nthat is hardly better than a coin: raise reward.prompts or reward.epochs"


SUMMARY = (
    ("held-out score (pass@1)", "eval/pass@1", "{:.3f}"),
    ("pass@8", "eval/pass@8", "{:.3f}"),
    ("lenient score", "eval/lenient", "{:.3f}"),
    ("completion length (tokens)", "eval/length", "{:.1f}"),
    ("cut by the limit", "eval/truncated", "{:.3f}"),
    ("entropy (nats per token)", "entropy/token", "{:.3f}"),
    ("gate (share of gradient kept)", "gate", "{:.3f}"),
    ("KL to the start model (nats per token)", "kl_ref/k1", "{:.3f}"),
    ("strength of the pull to it", "kl_ref/coefficient", "{:.4f}"),
    ("returns explained by the critic", "value/explained_var", "{:.3f}"),
    ("pairs per rollout batch", "pairs/count", "{:.0f}"),
    ("prompts without a pair", "pairs/skipped_frac", "{:.3f}"),
    ("pairs in order (better one preferred)", "pairs/accuracy", "{:.3f}"),
    ("margin of a pair (implicit reward)", "pairs/margin", "{:.3f}"),
    ("reward model: pairs in order", "reward_model/accuracy", "{:.3f}"),
    ("reward model: score (deviations)", "eval/model_score", "{:.3f}"),
    ("reward model: belief to be right", "eval/model_belief", "{:.3f}"),
    ("reward model: belief less the truth", "eval/model_gap", "{:.3f}"),
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
            end = "" if key.startswith("reward_model/") else form.format(values[-1])  # frozen before the start
            table.add_row(title, form.format(values[0]), "" if best is None else form.format(best), end)
    return table
