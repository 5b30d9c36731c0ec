"""Aggregates, profiles and the probability of improvement: worked out by hand, and what must hold for any scores."""

from __future__ import annotations

import itertools
from functools import partial

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.stats import aggregate
from bench.stats.profiles import improvement_by_task, performance_profile, probability_of_improvement
from bench.stats.scores import Scores
from bench.stats.standard_error import knows, standard_error

# Four runs of two tasks. Task means 0.5 and 0.7; in order: 0.1 0.3 0.4 0.5 0.7 0.8 0.9 1.1, of which the middle four are kept.
HAND = numpy.array([[0.1, 0.4], [0.9, 0.8], [0.3, 0.5], [0.7, 1.1]])
STATISTICS = (aggregate.mean, aggregate.median, aggregate.iqm, aggregate.optimality_gap)
numbers = st.floats(-100, 100, width=32)
matrices = st.tuples(st.integers(1, 9), st.integers(1, 5)).flatmap(lambda shape: arrays(numpy.float64, shape, elements=numbers))


def test_aggregates_by_hand() -> None:
    assert float(aggregate.mean(HAND)) == pytest.approx(0.6)
    assert float(aggregate.median(HAND)) == pytest.approx(0.6)
    assert float(aggregate.iqm(HAND)) == pytest.approx((0.4 + 0.5 + 0.7 + 0.8) / 4)
    assert float(aggregate.optimality_gap(HAND)) == pytest.approx(1 - (4.8 - 0.1) / 8)  # 1.1 counts as 1
    assert float(aggregate.optimality_gap(HAND, target=0.5)) == pytest.approx(0.5 - (0.1 + 0.3 + 0.4 + 5 * 0.5) / 8)


def test_of_five_runs_the_middle_three_count() -> None:
    assert float(aggregate.iqm(numpy.array([[0.0], [1.0], [2.0], [4.0], [100.0]]))) == pytest.approx(7 / 3)


def test_the_median_is_over_tasks_not_runs() -> None:
    assert float(aggregate.median(numpy.array([[0.0, 10.0, 1.0], [0.0, 30.0, 3.0]]))) == 2.0


def test_unequal_numbers_of_runs() -> None:
    tasks = [numpy.array([0.0, 1.0]), numpy.array([0.8, 0.2, 0.2, 0.8, 0.5, 0.5])]
    assert float(aggregate.mean(tasks)) == pytest.approx(0.5)
    assert float(aggregate.iqm(tasks)) == pytest.approx((0.2 + 0.5 + 0.5 + 0.8) / 4)  # without 0, 0.2 and 0.8, 1
    assert float(aggregate.optimality_gap(tasks, target=0.5)) == pytest.approx(0.5 - (0.25 + (0.2 * 2 + 0.5 * 4) / 6) / 2)


def test_standard_errors_by_hand() -> None:
    """Squared deviations: 0.16 + 0.16 + 0.04 + 0.04 = 0.4 and 0.09 + 0.01 + 0.04 + 0.16 = 0.3; each mean's variance is a twelfth of it."""
    means = (0.4 / 12, 0.3 / 12)
    assert float(standard_error(aggregate.mean, HAND)) == pytest.approx(numpy.sqrt(sum(means)) / 2)
    assert float(standard_error(aggregate.median, HAND)) == pytest.approx(numpy.sqrt(sum(means)) / 2)
    # Held within 0.4 to 0.8: 0.4 0.8 0.4 0.7 and 0.4 0.8 0.5 0.8, squared deviations 0.1275 and 0.1275; half of the runs are kept.
    assert float(standard_error(aggregate.iqm, HAND)) == pytest.approx(numpy.sqrt(2 * 0.1275 / 12))
    # Of one task with five runs 0 1 2 4 100: held within 1 to 4, 1 1 2 4 4, variance 2.3, mean of three: Tukey and McLaughlin's.
    five = numpy.array([[0.0], [1.0], [2.0], [4.0], [100.0]])
    assert float(standard_error(aggregate.iqm, five)) == pytest.approx(numpy.sqrt(2.3 / 5) / 0.6)
    assert float(standard_error(partial(aggregate.optimality_gap, target=2.0), five)) == pytest.approx(numpy.sqrt(0.8 / 5))


def test_the_standard_error_is_the_spread_of_many_experiments() -> None:
    rng = numpy.random.default_rng(1)
    scores = rng.normal([0.8, 0.4, 0.6], [0.02, 0.1, 0.05], (4000, 60, 3))
    for statistic in STATISTICS:
        assert float(standard_error(statistic, scores).mean()) == pytest.approx(float(statistic(scores).std()), rel=0.05)


def test_a_statistic_without_a_standard_error_is_refused() -> None:
    assert not knows(numpy.max)
    with pytest.raises(ValueError, match="no standard error is known"):
        standard_error(numpy.max, HAND)


def test_profiles_by_hand() -> None:
    above = performance_profile(HAND, [0.0, 0.3, 0.5, 0.75, 1.1])
    assert above.tolist() == [1.0, 6 / 8, 4 / 8, 3 / 8, 0.0]  # strictly above, so 0.3 is not above 0.3
    assert performance_profile(HAND, [0.49, 0.6, 0.8], of="means").tolist() == [1.0, 0.5, 0.0]
    ragged = [numpy.array([0.0, 1.0]), numpy.array([1.0, 1.0, 1.0, 0.0])]
    assert performance_profile(ragged, [0.5]).tolist() == [(0.5 + 0.75) / 2]


def test_probability_of_improvement_by_hand() -> None:
    """Task 0: 3 beats 1 and 2, 1 ties with 1 and loses to 2: 2.5 of 4. Task 1: all equal, one half."""
    x, y = numpy.array([[3.0, 5.0], [1.0, 5.0]]), numpy.array([[1.0, 5.0], [2.0, 5.0]])
    assert improvement_by_task(x, y).tolist() == [2.5 / 4, 0.5]
    assert float(probability_of_improvement(x, y)) == 0.5625
    assert float(probability_of_improvement(x + 10, y)) == 1.0


@pytest.mark.parametrize("statistic", STATISTICS)
@settings(max_examples=40)
@given(scores=matrices, data=st.data())
def test_the_order_of_runs_and_tasks_is_nothing(statistic: partial[float], scores: numpy.ndarray, data: st.DataObject) -> None:
    rows = data.draw(st.permutations(range(scores.shape[0])))
    columns = data.draw(st.permutations(range(scores.shape[1])))
    assert statistic(scores[rows][:, columns]) == pytest.approx(statistic(scores), abs=1e-9)


@given(scores=matrices, shift=numbers, scale=st.floats(0.01, 100))
def test_units_do_not_matter(scores: numpy.ndarray, shift: float, scale: float) -> None:
    for statistic in (aggregate.mean, aggregate.median, aggregate.iqm):
        assert statistic(scale * scores + shift) == pytest.approx(scale * float(statistic(scores)) + shift, abs=1e-6)
    moved = aggregate.optimality_gap(scale * scores + shift, target=scale * 1.0 + shift)
    assert moved == pytest.approx(scale * float(aggregate.optimality_gap(scores)), abs=1e-6)
    assert aggregate.optimality_gap(scores) >= 0


@given(scores=matrices, scale=st.floats(0.01, 100))
def test_standard_errors_scale(scores: numpy.ndarray, scale: float) -> None:
    if scores.shape[0] > 1:
        for statistic in (aggregate.mean, aggregate.iqm):
            found = float(standard_error(statistic, scale * scores + 7))
            assert found == pytest.approx(scale * float(standard_error(statistic, scores)), abs=1e-6)


@given(pair=st.integers(1, 4).flatmap(lambda t: st.tuples(*[arrays(numpy.float64, (r, t), elements=st.integers(0, 5)) for r in (4, 3)])))
def test_one_or_the_other_is_better(pair: tuple[numpy.ndarray, numpy.ndarray]) -> None:
    x, y = pair
    forth, back = float(probability_of_improvement(x, y)), float(probability_of_improvement(y, x))
    assert forth + back == pytest.approx(1) and 0 <= forth <= 1
    assert float(probability_of_improvement(x, x)) == 0.5
    assert float(probability_of_improvement(3 * x + 1, 3 * y + 1)) == pytest.approx(forth)


def test_a_batch_is_a_loop() -> None:
    rng = numpy.random.default_rng(2)
    x, y = rng.random((3, 4, 7, 5)).round(1), rng.random((3, 4, 6, 5)).round(1)
    thresholds = numpy.linspace(0, 1, 11)
    for i, j in itertools.product(range(3), range(4)):
        for statistic in STATISTICS:
            assert float(statistic(x)[i, j]) == pytest.approx(float(statistic(x[i, j])), abs=1e-14)
            assert float(standard_error(statistic, x)[i, j]) == pytest.approx(float(standard_error(statistic, x[i, j])), abs=1e-14)
        for of in ("runs", "means"):
            assert numpy.allclose(performance_profile(x, thresholds, of)[i, j], performance_profile(x[i, j], thresholds, of), atol=1e-14)
        assert float(probability_of_improvement(x, y)[i, j]) == pytest.approx(float(probability_of_improvement(x[i, j], y[i, j])))


def test_a_list_of_tasks_is_the_matrix() -> None:
    x = numpy.random.default_rng(3).random((5, 7, 4))
    listed = [x[..., t] for t in range(4)]
    for statistic in STATISTICS:
        assert numpy.allclose(statistic(listed), statistic(x), atol=1e-14)
        assert numpy.allclose(standard_error(statistic, listed), standard_error(statistic, x), atol=1e-14)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (numpy.array([[0.1, 0.2], [0.3, numpy.nan]]), r"scores\[1, 1\] is nan; leave that run out"),
        ([numpy.array([1.0]), numpy.array([0.0, numpy.inf])], r"scores of task 1\[1\] is inf"),
        (numpy.zeros((0, 2)), "hold 0 runs of 2 tasks"),
        (numpy.zeros((2, 0)), "hold 2 runs of 0 tasks"),
        (numpy.zeros(3), r"shape \(3,\), but \(..., runs, tasks\) is needed"),
        ([], "hold no task"),
        ([numpy.zeros(2), numpy.zeros(0)], "task 1 has no runs"),
    ],
)
def test_what_cannot_be_used_is_named(scores: Scores, message: str) -> None:
    for statistic in STATISTICS:
        with pytest.raises(ValueError, match=message):
            statistic(scores)
    with pytest.raises(ValueError, match=message):
        performance_profile(scores, [0.5])
    with pytest.raises(ValueError, match=message):
        probability_of_improvement(scores, scores)


def test_other_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="2 tasks cannot be compared with 1"):
        probability_of_improvement(HAND, HAND[:, :1])
    with pytest.raises(ValueError, match="one row of them"):
        performance_profile(HAND, [[0.5]])
    with pytest.raises(ValueError, match="profile of 'medians' is unknown"):
        performance_profile(HAND, [0.5], of="medians")  # type: ignore[arg-type]
