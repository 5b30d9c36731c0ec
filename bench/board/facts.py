"""What a row says beside its score: a few metrics, each the mean over the seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy

from bench import registry
from bench.board.groups import COLUMNS, Entry
from bench.metrics.base import RunMetric
from bench.metrics.threshold import ToThreshold
from bench.trials import Trial

METRICS = ("area_under_curve", "samples_to_threshold", "maximum_drawdown", "entropy_floor", "mean_gate")
COUNTS = ("tokens", "cpu_seconds")  # of the whole run


@dataclass(frozen=True)
class Fact:
    """A mean over the seeds that have the number."""

    mean: float  # NaN where none has
    known: int  # how many have
    seeds: int  # how many there are that did not diverge

    def __str__(self) -> str:
        """The number, with how many seeds have it where not all do."""
        if math.isnan(self.mean):
            return ""
        text = f"{self.mean:,.0f}" if abs(self.mean) >= 100 else f"{self.mean:.1f}" if abs(self.mean) >= 10 else f"{self.mean:.3f}"
        return text if self.known == self.seeds else f"{text} ({self.known} of {self.seeds})"


@cache
def _metrics() -> dict[str, RunMetric]:
    return {name: registry.load("metrics", name)() for name in METRICS}


def columns() -> frozenset[str]:
    """Those of a curve that a board looks at."""
    return frozenset({*COLUMNS, *COUNTS, *(name for metric in _metrics().values() for name in metric.columns())})


def facts(entry: Entry, scaled: bool) -> dict[str, Fact]:
    """By name; of the seeds that did not diverge, since a curve that was cut short says something else.

    `scaled`: the board's. Without a scale, no threshold means the same everywhere.
    """
    trials = [trial for trial in entry.trials if not trial.diverged]
    metrics = {name: metric for name, metric in _metrics().items() if scaled or not isinstance(metric, ToThreshold)}
    found = {name: _over(trials, [metric(trial.curve) for trial in trials]) for name, metric in metrics.items()}
    return found | {name: _over(trials, [trial.last(name) for trial in trials]) for name in COUNTS}


def _over(trials: Sequence[Trial], values: Sequence[float]) -> Fact:
    known = [value for value in values if not math.isnan(value)]
    return Fact(float(numpy.mean(known)) if known else math.nan, len(known), len(trials))
