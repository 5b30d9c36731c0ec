"""What a person sees of a run: a live line, then a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.config import RewardSettings, RunSpec
from bench.record import Record

FIGURES = (
    ("score", "eval/pass@1"),
    ("return", "eval/return"),
    ("belief", "eval/model_belief"),
    ("entropy", "entropy/token"),
    ("entropy", "entropy/policy"),
    ("gate", "gate"),
    ("pairs in order", "pairs/accuracy"),
    ("critic explains", "value/explained_var"),
    ("Q above return", "q/overestimation"),
)
COIN = 0.55  # share of pairs in order, up to which a reward model has learnt next to nothing


class Live:
    """A progress line on a terminal; one line per evaluation elsewhere, so that logs stay short. Of several seeds, their mean."""

    def __init__(self, console: Console, specs: Sequence[RunSpec]) -> None:
        spec = specs[0]
        self.console, self.budget, self.unit, self.reward = console, spec.budget, spec.unit, spec.reward
        self.known: dict[int, dict[str, float]] = {one.seed: {} for one in specs}  # the newest value of each probe, by seed
        self.last: dict[int, Record] = {}
        self.heard: list[int] = []  # seeds evaluated since the last line
        columns = [
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
        ]
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.row = self.bar.add_task(f"{spec.algorithm.name} on {spec.table}", total=spec.budget, state="")

    def observe(self, spec: RunSpec, record: Record) -> None:
        if record.eval_score is not None and spec.seed in self.heard:
            self._line()  # those trained beside it; others wait for their turn, or have ended
        kept = {name: value for name, value in self.known[spec.seed].items() if name.startswith("eval/") or name == "q/overestimation"}
        self.known[spec.seed] = kept | record.probes
        self.last[spec.seed] = record
        if "reward_model/accuracy" in record.probes:
            self._print(quality(record.probes))
        least = sum(min(self.last[seed].samples, self.budget) if seed in self.last else 0 for seed in self.known) // len(self.known)
        self.bar.update(self.row, completed=least, state=self._state(list(self.last)))
        if record.eval_score is not None:
            self.heard.append(spec.seed)
            if len(self.heard) == len(self.known):
                self._line()

    def _line(self) -> None:
        """Where the seeds are that have been heard of since the last line."""
        if self.heard and not self.console.is_terminal:
            self._print(self._state(self.heard) + f"  {sum(self.last[seed].seconds for seed in self.heard):5.0f} s")
        self.heard = []

    def _state(self, seeds: Sequence[int]) -> str:
        shown, newest = [], max((self.last[seed] for seed in seeds), key=lambda record: record.step)
        for name, key in FIGURES:
            values = [self.known[seed][key] for seed in seeds if key in self.known[seed]]
            if values:
                shown.append(f"{name} {_number(sum(values) / len(values))}")
                if len(values) > 1 and key in ("eval/return", "eval/pass@1"):
                    shown[-1] += f" ({_number(min(values))} to {_number(max(values))})"
        return f"step {newest.step:4d}  {self.unit} {newest.samples:6d}  {'  '.join(shown)}"

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self.reward.name == "model":
            cost = RewardSettings(**self.reward.settings).samples
            self._print(f"a reward model pays, once it has learnt from comparisons of {cost} completions, which count as samples")
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._line()
        self.bar.stop()


def _number(value: float) -> str:
    return f"{value:5.3f}" if abs(value) < 10 else f"{value:5.1f}"


def quality(probes: Mapping[str, float]) -> str:
    """What a reward model has learnt, and what to do where that is next to nothing."""
    accuracy = probes["reward_model/accuracy"]
    line = (
        f"reward model: learnt from {probes['reward_model/pairs']:.0f} pairs; of pairs on other prompts, {accuracy:.3f} in order "
        f"(a coin: 0.5), margin {probes['reward_model/margin']:.3f}, calibration error {probes['reward_model/calibration_error']:.3f}"
    )
    return line if accuracy > COIN else line + "\nthat is hardly better than a coin: raise reward.prompts or reward.epochs"


BEST = ("eval/pass@1", "eval/pass@8", "eval/return", "eval/return_stochastic", "eval/score")
GATE, CRITIC = ("gate (share of gradient kept)", "gate", "{:.3f}"), ("returns explained by the critic", "value/explained_var", "{:.3f}")
CONTROL = (
    ("return, deterministic", "eval/return", "{:.1f}"),
    ("return, stochastic", "eval/return_stochastic", "{:.1f}"),
    ("score (0 random, 1 reachable)", "eval/score", "{:.3f}"),
    ("length of an episode (steps)", "eval/length", "{:.1f}"),
    ("cut by the limit", "eval/truncated", "{:.3f}"),
    ("return while training", "ep/return", "{:.1f}"),
    ("entropy (nats per action)", "entropy/token", "{:.3f}"),
    ("entropy (nats per action)", "entropy/policy", "{:.3f}"),
    GATE,
    CRITIC,
    ("temperature", "temperature", "{:.4f}"),
    ("value of an action, mean", "q/mean", "{:.2f}"),
    ("value less return", "q/overestimation", "{:.2f}"),
    ("conservative gap", "cql/gap", "{:.3f}"),
    ("loss on the logged actions", "bc/loss", "{:.3f}"),
)
TEXT = (
    ("held-out score (pass@1)", "eval/pass@1", "{:.3f}"),
    ("pass@8", "eval/pass@8", "{:.3f}"),
    ("lenient score", "eval/lenient", "{:.3f}"),
    ("length (tokens)", "eval/length", "{:.1f}"),
    ("cut by the limit", "eval/truncated", "{:.3f}"),
    ("entropy (nats per token)", "entropy/token", "{:.3f}"),
    GATE,
    ("KL to the start model (nats per token)", "kl_ref/k1", "{:.3f}"),
    ("strength of the pull to it", "kl_ref/coefficient", "{:.4f}"),
    CRITIC,
    ("pairs per rollout batch", "pairs/count", "{:.0f}"),
    ("prompts without a pair", "pairs/skipped_frac", "{:.3f}"),
    ("pairs in order (better one preferred)", "pairs/accuracy", "{:.3f}"),
    ("margin of a pair (implicit reward)", "pairs/margin", "{:.3f}"),
    ("reward model: pairs in order", "reward_model/accuracy", "{:.3f}"),
    ("reward model: score (deviations)", "eval/model_score", "{:.3f}"),
    ("reward model: belief to be right", "eval/model_belief", "{:.3f}"),
    ("reward model: belief less the truth", "eval/model_gap", "{:.3f}"),
)


def summary(runs: Sequence[Sequence[Record]]) -> Table:
    """First, best and last value of the headline figures; of several seeds, means with the lowest and highest of the last."""
    table = Table(title="", show_edge=False, pad_edge=False)
    for name in ("", "start", "best", "end", *(("range at the end",) if len(runs) > 1 else ())):
        table.add_column(name, justify="left" if not name else "right")
    control = any("eval/return" in record.probes for records in runs for record in records)
    scaled = any(r.eval_score != r.probes["eval/return"] for records in runs for r in records if "eval/return" in r.probes)
    for title, key, form in CONTROL if control else TEXT:
        if key == "eval/score" and not scaled:
            continue  # the return once more
        each = [values for records in runs if (values := [r.probes[key] for r in records if key in r.probes])]
        if each:
            frozen = key.startswith("reward_model/")  # before the start
            best = form.format(_mean([max(values) for values in each])) if key in BEST else ""
            last = [values[-1] for values in each]
            row = [title, form.format(_mean([values[0] for values in each])), best, "" if frozen else form.format(_mean(last))]
            table.add_row(*row, *((f"{form.format(min(last))} to {form.format(max(last))}",) if len(runs) > 1 else ()))
    return table


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
