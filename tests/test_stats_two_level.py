"""Scores of seeds on held-out items: by hand, by simulation, what the data cannot say; power, and ranks with ties."""

from __future__ import annotations

import math

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from bench.stats.estimate import Estimate
from bench.stats.power import power, seeds_needed, smallest_difference
from bench.stats.ranks import Rank, holm, ranks
from bench.stats.two_level import difference, difference_of_seeds, score, score_of_seeds

# Two seeds, three items: seeds' means 2 and 4, items' 1, 3 and 5, nothing left over but +-0.5 on the first and last.
HAND = numpy.array([[0.5, 2.0, 3.5], [1.5, 4.0, 6.5]])


def plain(*, error: float, freedom: float, per_seed: float = 0.0, fixed: float = 0.0) -> Estimate:
    return Estimate(0.1, error, freedom, per_seed, fixed, 2)


def test_a_score_by_hand() -> None:
    """V_S = 2 / 2 = 1; V_K = 4 / 3; what is left: -+0.5 0 +-0.5, squares 1 over 2 degrees of freedom, V_E = 0.5 / 6."""
    found = score(HAND)
    left_over = 0.5 / 6
    variance = 1 + 4 / 3 - left_over
    assert found.value == 3 and found.error == pytest.approx(math.sqrt(variance))
    assert found.freedom == pytest.approx(variance**2 / (1 / 1 + (4 / 3) ** 2 / 2 + left_over**2 / 2))
    assert found.per_seed == 2 and found.fixed == pytest.approx(4 / 3 - left_over)
    low, high = 3 + numpy.array([-1, 1]) * stats.t.ppf(0.975, found.freedom) * math.sqrt(variance)
    assert [found.interval().low, found.interval().high] == pytest.approx([low, high])


def test_a_difference_by_hand() -> None:
    """Items' means 1 3 5 less the second's 1 1 4 are 0 2 1. The second's seeds agree, so that the first's alone vary."""
    other = numpy.array([[1.0, 1.0, 4.0], [1.0, 1.0, 4.0], [1.0, 1.0, 4.0]])
    found = difference(HAND, other)
    items = numpy.array([0.0, 2.0, 1.0])
    assert found.value == pytest.approx(1.0)
    assert found.error == pytest.approx(math.sqrt(items.var(ddof=1) / 3 + 1 - 0.5 / 6))
    back = difference(other, HAND)
    assert (back.value, back.error, back.freedom) == pytest.approx((-found.value, found.error, found.freedom))


def test_what_all_items_share_by_seed_and_all_seeds_by_item_is_told_apart() -> None:
    """Only seeds differ: Student's over seeds. Only items differ: Student's over items."""
    seeds = numpy.array([0.2, 0.5, 0.3, 0.9])[:, None] + numpy.zeros((4, 50))
    found, wanted = score(seeds), score_of_seeds(seeds[:, 0])
    assert (found.error, found.freedom) == pytest.approx((wanted.error, wanted.freedom)) and found.freedom == pytest.approx(3)
    items = numpy.linspace(0, 1, 20) + numpy.zeros((4, 1))
    found = score(items)
    assert found.error == pytest.approx(items[0].std(ddof=1) / math.sqrt(20)) and found.freedom == pytest.approx(19)
    assert found.per_seed == pytest.approx(0) and "all seeds scored the same" in found.note


@settings(max_examples=40)
@given(scores=arrays(numpy.float64, (4, 6), elements=st.integers(0, 8)), shift=st.integers(-5, 5), data=st.data())
def test_order_and_units_do_not_matter(scores: numpy.ndarray, shift: int, data: st.DataObject) -> None:
    rows, columns = data.draw(st.permutations(range(4))), data.draw(st.permutations(range(6)))
    found, moved = score(scores), score(2 * scores[rows][:, columns] + shift)
    assert moved.value == pytest.approx(2 * found.value + shift) and moved.error == pytest.approx(2 * found.error, abs=1e-9)
    assert found.freedom == math.inf or found.freedom >= 3 - 1e-9
    nothing = difference(scores, scores)
    assert nothing.value == 0 and nothing.p_value() == pytest.approx(1.0)


@pytest.mark.parametrize(("by_seed", "by_item"), [(0.03, 0.3), (0.03, 0.0), (0.0, 0.3)])
def test_scores_and_differences_cover(by_seed: float, by_item: float) -> None:
    """600 experiments of five seeds on 40 items; `benchmarks/coverage.py` has more of them, and more of worlds."""
    rng = numpy.random.default_rng(5)
    inside = []
    for _ in range(600):
        item = by_item * rng.standard_normal(40)
        a, b = (item + by_seed * rng.standard_normal((5, 1)) + 0.1 * rng.standard_normal((5, 40)) for _ in range(2))
        inside.append((score(a).interval().holds(0), difference(a, b).interval().holds(0)))
    assert (numpy.mean(inside, axis=0) >= 0.93).all() and (numpy.mean(inside, axis=0) <= 0.98).all()


def test_p_values_are_even_where_nothing_differs() -> None:
    rng = numpy.random.default_rng(6)
    found = [difference(*rng.normal(size=(2, 5, 1)) + 0.3 * rng.normal(size=(2, 5, 30))).p_value() for _ in range(800)]
    assert [float(numpy.mean(numpy.array(found) < level)) for level in (0.05, 0.5)] == pytest.approx([0.05, 0.5], abs=0.045)


def test_pairing_by_item_tells_more() -> None:
    rng = numpy.random.default_rng(7)
    item = rng.normal(0, 0.4, 60)
    a, b = (item + shift + 0.05 * rng.standard_normal((5, 60)) for shift in (0.0, 0.02))
    assert difference(a, b).error < 0.3 * math.hypot(score(a).error, score(b).error)


def test_one_seed_or_one_item_cannot_say() -> None:
    five = numpy.random.default_rng(8).random((5, 10))
    for found in (score(five[:1]), difference(five, five[:1]), difference(five[:1], five), score_of_seeds(five[0, :1])):
        interval = found.interval()
        assert not interval.known and "one seed" in interval.note and math.isfinite(interval.value)
        assert math.isnan(found.p_value()) and math.isnan(smallest_difference(found)) and seeds_needed(0.1, found) is None
    assert "one held-out item" in score(five[:, :1]).interval().note


def test_no_spread_at_all_says_so() -> None:
    same = numpy.full((5, 20), 500.0)
    found = score(same)
    assert found.interval(within=(0.0, 500.0)).low == found.interval().high == 500 and "all seeds scored the same" in found.note
    apart = difference(same, same - 20)
    assert apart.interval().low == 20 and apart.p_value() == 0 and difference(same, same).p_value() == 1
    assert smallest_difference(apart) == 0 and "all seeds scored the same" in apart.note


def test_scores_below_a_ceiling_stay_below_it() -> None:
    high = numpy.random.default_rng(9).binomial(8, 0.99, (5, 20)) / 8
    interval = score(high).interval(within=(0, 1))
    assert interval.high < 1 < score(high).interval().high and interval.value - interval.low > interval.high - interval.value
    with pytest.raises(ValueError, match="leave `within` out"):
        score(high + 1).interval(within=(0, 1))


def test_seeds_alone_are_students_and_welchs() -> None:
    x, y = numpy.array([0.3, 0.5, 0.6, 0.9]), numpy.array([0.1, 0.2, 0.15])
    one, two = stats.ttest_1samp(x, 0), stats.ttest_ind(x, y, equal_var=False)
    assert score_of_seeds(x).p_value() == pytest.approx(one.pvalue)
    assert [score_of_seeds(x).interval().low, score_of_seeds(x).interval().high] == pytest.approx([*one.confidence_interval(0.95)])
    assert difference_of_seeds(x, y).p_value() == pytest.approx(two.pvalue)
    assert difference_of_seeds(x, y).interval(0.9).high == pytest.approx(two.confidence_interval(0.9).high)


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match=r"scores\[0, 1\] is nan"):
        score(numpy.array([[1.0, math.nan]]))
    with pytest.raises(ValueError, match="3 items cannot be paired with 2"):
        difference(HAND, HAND[:, :2])
    with pytest.raises(ValueError, match=r"have shape \(0, 3\)"):
        score(HAND[:0])
    with pytest.raises(ValueError, match="one row of at least one seed"):
        score_of_seeds(numpy.zeros(0))


def test_power_is_the_share_of_experiments_that_show_it() -> None:
    """Welch's test of five seeds against five, true difference 2 standard deviations."""
    rng = numpy.random.default_rng(10)
    x, y = rng.normal(2, 1, (20_000, 5)), rng.normal(0, 1, (20_000, 5))
    shown = float((stats.ttest_ind(x, y, axis=1).pvalue < 0.05).mean())
    assert power(2, math.sqrt(2 / 5), 8) == pytest.approx(shown, abs=0.01)
    assert power(0, 1.0, 8) == pytest.approx(0.05) and power(1e6, 1.0, 4) == 1.0


def test_the_smallest_difference_has_the_wanted_power() -> None:
    """The textbook's: with the spread known, 1.96 + 0.84 standard errors; with four degrees of freedom, 3.8."""
    assert smallest_difference(plain(error=0.01, freedom=math.inf)) == pytest.approx(0.028016, abs=1e-5)
    for freedom in (1.0, 4.0, 8.0, 300.0):
        found = smallest_difference(plain(error=0.01, freedom=freedom))
        assert power(found, 0.01, freedom) == pytest.approx(0.8, abs=1e-6)
    assert smallest_difference(plain(error=0.01, freedom=4.0)) == pytest.approx(0.0378, abs=2e-4)


def test_seeds_needed_are_the_fewest_that_suffice() -> None:
    """Two entries of standard deviation 0.02, true difference 0.02: 17 seeds each, as in every table of the two-sample t test (d = 1)."""
    assert seeds_needed(0.02, plain(error=1.0, freedom=8.0, per_seed=2 * 0.02**2)) == 17
    assert seeds_needed(-0.02, plain(error=1.0, freedom=8.0, per_seed=2 * 0.02**2)) == 17
    assert seeds_needed(0.2, plain(error=1.0, freedom=8.0, per_seed=2 * 0.02**2)) == 2
    # The items' part alone is 0.005: (0.02 / 2.80)^2 - 0.005^2 leaves 2.6e-5 for the seeds, and 31 of them do not quite do: 0.0008 / 31.
    assert seeds_needed(0.02, plain(error=1.0, freedom=8.0, per_seed=2 * 0.02**2, fixed=0.005**2)) == 32
    assert seeds_needed(0.02, plain(error=1.0, freedom=8.0, per_seed=2 * 0.02**2, fixed=0.01**2)) is None  # more items, not more seeds
    assert seeds_needed(0.0, plain(error=1.0, freedom=8.0, per_seed=1.0)) is None
    with pytest.raises(ValueError, match=r"a power of 1\.2"):
        smallest_difference(plain(error=1.0, freedom=8.0), wanted=1.2)


def test_holm_by_hand() -> None:
    """In order 0.01 0.02 0.03 0.04 times 4 3 2 1: 0.04 0.06 0.06 0.06, never falling."""
    assert holm([0.03, 0.01, 0.04, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]).tolist() == [] and holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    found = holm([0.02, math.nan, 0.001])
    assert found[[0, 2]].tolist() == pytest.approx([0.04, 0.003]) and math.isnan(found[1])
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        holm([1.2])


def test_ties_stay_ties() -> None:
    """a and b tie, b and c tie, a beats c; all beat d. Three tests of six are significant after Holm's correction."""
    p = numpy.ones((4, 4))
    p[0, 2], p[0, 3], p[1, 3], p[2, 3] = 0.001, 1e-6, 1e-6, 1e-6
    found = ranks([0.9, 0.8, 0.7, 0.1], p)
    assert found == [Rank(1, 2), Rank(1, 3), Rank(2, 3), Rank(4, 4)]
    assert [str(rank) for rank in found] == ["1-2", "1-3", "2-3", "4"]
    order = [2, 0, 3, 1]
    upper = numpy.minimum(p, p.T)
    assert ranks([[0.9, 0.8, 0.7, 0.1][i] for i in order], upper[order][:, order]) == [found[i] for i in order]


def test_what_was_not_tested_ties_with_everything() -> None:
    p = numpy.full((3, 3), 1e-6)
    p[0, 1] = p[0, 2] = math.nan  # one seed
    assert ranks([0.9, 0.5, 0.4], p) == [Rank(1, 3), Rank(1, 2), Rank(2, 3)]


def test_correction_for_many_pairs_unmakes_a_finding() -> None:
    p = numpy.full((4, 4), 0.5)
    p[0, 1] = 0.02
    assert ranks([0.9, 0.1, 0.5, 0.5], p)[1].low == 1
    assert ranks([0.9, 0.1], p[:2, :2])[1] == Rank(2, 2)
    assert ranks([0.9], [[1.0]]) == [Rank(1, 1)]
    with pytest.raises(ValueError, match=r"need p values of shape \(2, 2\)"):
        ranks([0.9, 0.1], p)
