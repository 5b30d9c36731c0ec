"""Ours beside rliable 1.2.0, where both define a number: aggregates, profiles, improvement, and percentile intervals."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import rliables

from bench.board.groups import COLUMNS, boards
from bench.stats import aggregate
from bench.stats.bootstrap import bootstrap
from bench.stats.profiles import performance_profile, probability_of_improvement
from bench.stats.resampling import values
from bench.trials import read

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]
SHAPES = [(1, 1), (2, 1), (3, 2), (5, 2), (5, 4), (10, 7), (100, 26)]


@pytest.fixture(scope="module")
def rliable() -> SimpleNamespace:
    """Its modules."""
    library, metrics = rliables.rliable()
    return SimpleNamespace(library=library, metrics=metrics)


def matrices(kind: str, shape: tuple[int, int], count: int = 5) -> list[numpy.ndarray]:
    rng = numpy.random.default_rng([shape[0], shape[1], len(kind)])
    draw = {"even": rng.random, "skewed": lambda s: rng.lognormal(0, 1, s), "tied": lambda s: rng.integers(0, 4, s) / 2}[kind]
    return [draw(shape) for _ in range(count)]


@pytest.mark.parametrize("kind", ["even", "skewed", "tied"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_aggregates_are_equal(rliable: SimpleNamespace, shape: tuple[int, int], kind: str) -> None:
    for scores in matrices(kind, shape):
        pairs = [
            (aggregate.mean(scores), rliable.metrics.aggregate_mean(scores)),
            (aggregate.median(scores), rliable.metrics.aggregate_median(scores)),
            (aggregate.iqm(scores), rliable.metrics.aggregate_iqm(scores)),
            (aggregate.optimality_gap(scores), rliable.metrics.aggregate_optimality_gap(scores)),
            (aggregate.optimality_gap(scores, target=0.6), rliable.metrics.aggregate_optimality_gap(scores, gamma=0.6)),
        ]
        for ours, theirs in pairs:
            assert float(ours) == pytest.approx(float(theirs), rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("kind", ["even", "skewed", "tied"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_profiles_are_equal(rliable: SimpleNamespace, shape: tuple[int, int], kind: str) -> None:
    thresholds = numpy.linspace(0, 2, 41)
    for scores in matrices(kind, shape):
        for of, function in (("runs", "score_distributions"), ("means", "average_score_distributions")):
            theirs = getattr(rliable.library, function)(scores, thresholds)
            assert numpy.allclose(performance_profile(scores, thresholds, of=of), theirs, rtol=0, atol=1e-13)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["even", "skewed", "tied"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_improvement_is_equal(rliable: SimpleNamespace, shape: tuple[int, int], kind: str) -> None:
    for x, y in itertools.pairwise(matrices(kind, shape)):
        for other in (y, numpy.concatenate([y, y[:1] + 0.5]), x):  # as many runs, one more, and the same ones
            theirs = rliable.metrics.probability_of_improvement(x, other)
            assert float(probability_of_improvement(x, other)) == pytest.approx(float(theirs), abs=1e-13)


def test_the_board_s_own_scores_give_the_same_numbers(rliable: SimpleNamespace) -> None:
    """Every entry of every board, and over the boards of text, whose entries have as many seeds on both."""
    found = boards(read(Path(__file__).resolve().parents[1] / "results" / "board", COLUMNS))
    scores = {(board.table, e.label): numpy.array([[t.last("eval_score")] for t in e.trials]) for board in found for e in board.entries}
    tables = [board.table for board in found if board.protocol["tier"] == "tiny"]
    assert len(tables) == 2 and len(scores) > 30
    names = {label for table, label in scores if all((each, label) in scores for each in tables)}
    scores |= {("text", name): numpy.hstack([scores[table, name] for table in tables]) for name in names}
    for held in scores.values():
        for name in ("mean", "median", "iqm", "optimality_gap"):
            theirs = getattr(rliable.metrics, f"aggregate_{name}")(held)
            assert float(getattr(aggregate, name)(held)) == pytest.approx(float(theirs), rel=1e-12, abs=1e-12)
    for (one, x), (other, y) in itertools.permutations(scores.items(), 2):
        if one[0] == other[0]:
            theirs = rliable.metrics.probability_of_improvement(x, y)
            assert float(probability_of_improvement(x, y)) == pytest.approx(float(theirs), abs=1e-12)


class Theirs:
    """The places that rliable draws, in its order: from numpy's global generator, whatever `random_state` it is given."""

    def integers(self, low: int, high: int, size: tuple[int, int, int]) -> numpy.ndarray:
        return numpy.stack([numpy.random.choice(high - low, size[1:], replace=True) for _ in range(size[0])])


@pytest.mark.parametrize("name", ["mean", "median", "iqm", "optimality_gap"])
@pytest.mark.parametrize("shape", [(5, 1), (5, 2), (10, 7)], ids=str)
def test_the_same_places_give_the_same_interval(rliable: SimpleNamespace, shape: tuple[int, int], name: str) -> None:
    scores = matrices("skewed", shape)[0]
    theirs, interval = intervals(rliable, scores, name, reps=400)
    numpy.random.seed(17)
    found = bootstrap(scores, getattr(aggregate, name), Theirs(), 400, method="percentile")  # type: ignore[arg-type]
    assert found.value == pytest.approx(theirs, rel=1e-13)
    assert [found.low, found.high] == pytest.approx(interval, rel=1e-12)


@pytest.mark.parametrize("name", ["mean", "iqm"])
@pytest.mark.parametrize("shape", [(5, 2), (10, 7)], ids=str)
def test_other_places_give_the_same_interval_but_for_chance(rliable: SimpleNamespace, shape: tuple[int, int], name: str) -> None:
    """What 20,000 of ours and 8,000 of theirs differ by: less than the share of resamples that lies between, four standard errors of it."""
    scores = matrices("even", shape)[0]
    _, interval = intervals(rliable, scores, name, reps=8000)
    drawn = values(scores, getattr(aggregate, name), numpy.random.default_rng(3), 20_000)
    for bound, share in zip(interval, (0.025, 0.975), strict=True):
        tolerance = 4 * numpy.sqrt(0.025 * 0.975 * (1 / 20_000 + 1 / 8000))
        assert float((drawn < bound).mean()) - tolerance <= share <= float((drawn <= bound).mean()) + tolerance


def intervals(rliable: SimpleNamespace, scores: numpy.ndarray, name: str, reps: int) -> tuple[float, list[float]]:
    """rliable's value and percentile interval, its chance set to 17."""
    function: Any = getattr(rliable.metrics, f"aggregate_{name}")
    numpy.random.seed(17)
    points, bounds = rliable.library.get_interval_estimates({"x": scores}, lambda s: numpy.array([function(s)]), reps=reps)
    return float(points["x"][0]), bounds["x"][:, 0].tolist()
