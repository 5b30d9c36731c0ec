"""What an entry scored in the end: one number a seed and, where they were kept, one a held-out item."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from bench.board.groups import Entry
from bench.errors import StoreError
from bench.record import Items
from bench.trials import Trial

FloatArray = NDArray[numpy.float64]
ROUNDING = 1e-6  # by which the mean of the item scores may differ from the score that was recorded


@dataclass(frozen=True, eq=False)
class Scores:
    """The last held-out evaluation of each seed."""

    seeds: tuple[int, ...]
    values: FloatArray  # (S,) NaN where a seed has none
    items: FloatArray | None  # (S, K); None where they are not known of every seed
    key: str  # equal keys: the same items in the same order; empty without items
    lacking: str  # why there are no items, in a few words; empty where there are

    @property
    def defined(self) -> bool:
        """Whether every seed has a score."""
        return len(self.values) > 0 and not bool(numpy.isnan(self.values).any())

    @property
    def mean(self) -> float:
        """Over the seeds; NaN where one of them has no score."""
        return float(self.values.mean()) if self.defined else math.nan


def finals(entry: Entry, scaled: bool) -> FloatArray:
    """(S,) the score of each seed in the end.

    A run that left the finite numbers scores 0 where scores have a scale, on which 0 is a policy that can do nothing; else it has none.
    `scaled`: the board's.
    """
    floor = 0.0 if scaled else math.nan
    return numpy.array([floor if trial.diverged else trial.last("eval_score") for trial in entry.trials], dtype=numpy.float64)


def scores(entry: Entry, scaled: bool) -> Scores:
    """The same with the scores of each held-out item, which are read from the runs' folders."""
    values = finals(entry, scaled)
    found, lacking = _items(entry)
    if found is None:
        return Scores(entry.seeds, values, None, "", lacking)
    key, rows = found
    width = len(next(iter(rows.values())))
    matrix = numpy.array([rows.get(seed, numpy.full(width, 0.0 if scaled else math.nan)) for seed in entry.seeds])
    return Scores(entry.seeds, values, matrix, key, "")


def _items(entry: Entry) -> tuple[tuple[str, dict[int, FloatArray]] | None, str]:
    """The key and the last item scores of each seed that did not diverge, or None with the reason."""
    keys, rows = set[str](), dict[int, FloatArray]()
    for trial in entry.trials:
        if trial.diverged:
            continue
        try:
            last = _last(trial)
        except StoreError:
            return None, f"the item scores of seed {trial.seed} cannot be read"
        if last is None:
            return None, f"seed {trial.seed} kept no item scores"
        keys.add(last.key)
        rows[trial.seed] = numpy.array(last.scores, dtype=numpy.float64)
        if not abs(rows[trial.seed].mean() - trial.last("eval_score")) <= ROUNDING * max(1.0, abs(trial.last("eval_score"))):
            return None, f"the item scores of seed {trial.seed} do not add up to its score"
    if not rows:
        return None, "no seed has any"
    if len(keys) > 1 or len({len(row) for row in rows.values()}) > 1:
        return None, "the seeds were evaluated on different items"
    if len(next(iter(rows.values()))) == 1:
        return None, "a single item says nothing of others"
    return (keys.pop(), rows), ""


def _last(trial: Trial) -> Items | None:
    """The item scores of the last evaluation; None where that one kept none."""
    known, score = trial.last_items(), trial.curve["eval_score"]
    evaluated = trial.curve["step"][~numpy.isnan(score)]
    return known[1] if known and len(evaluated) and known[0] == evaluated[-1] and known[1].scores else None
