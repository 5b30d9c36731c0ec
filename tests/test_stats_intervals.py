"""Intervals over seeds: formulas against known results, chance that repeats, coverage, and data that cannot say."""

from __future__ import annotations

import math
from functools import partial

import numpy
import pytest
from scipy import stats

from bench.stats import aggregate
from bench.stats.bootstrap import bootstrap, expanded_tail
from bench.stats.intervals import Interval, spread, student_band
from bench.stats.profiles import performance_profile
from bench.stats.resampling import CHUNK, resamples
from bench.stats.shares import improvement_interval, items_interval, profile_band

SCORES = numpy.array([[0.71, 0.40], [0.79, 0.42], [0.75, 0.39], [0.70, 0.48], [0.80, 0.41]])


def chance(seed: int = 0) -> numpy.random.Generator:
    return numpy.random.default_rng(seed)


def bounds(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


@pytest.mark.parametrize("method", ["studentized", "expanded", "percentile"])
@pytest.mark.parametrize("statistic", [aggregate.mean, aggregate.iqm, aggregate.median, partial(aggregate.optimality_gap, target=0.5)])
def test_the_same_seed_gives_the_same_bytes(statistic: partial[float], method: str) -> None:
    found = [bootstrap(SCORES, statistic, chance(seed), 500, method=method) for seed in (3, 3, 4)]  # type: ignore[arg-type]
    assert found[0] == found[1] and bounds(found[0]) != bounds(found[2])
    assert found[0].low < found[0].value < found[0].high and found[0].value == float(statistic(SCORES))


def test_no_global_chance_is_used() -> None:
    before = numpy.random.get_state()[1].tolist()  # type: ignore[index]
    bootstrap(SCORES, aggregate.iqm, chance(), 100)
    assert numpy.random.get_state()[1].tolist() == before  # type: ignore[index]


def test_of_normal_scores_the_mean_has_students_interval() -> None:
    """Resamples are half noise at two runs, where nothing but Student's t is left; at thirty the bootstrap has become normal."""
    for runs, tolerance in ((2, 0.08), (30, 0.05)):
        scores = stats.norm.ppf((numpy.arange(runs) + 0.5) / runs)[:, None]
        low, _, high = student_band(scores)
        found = bootstrap(scores, aggregate.mean, chance(), 200_000)
        if runs == 30:
            assert bounds(found) == pytest.approx([float(low[0]), float(high[0])], rel=tolerance)
        else:
            assert float(high[0]) * 0.5 < found.high < float(high[0]) * 1.5


def test_plain_percentiles_are_those_of_all_resamples() -> None:
    """Three runs have 27 resamples, each as likely: their exact 2.5 and 97.5 percentiles are what many draws come to."""
    runs = numpy.array([0.0, 1.0, 5.0])
    means = sorted(float(runs[[i, j, k]].mean()) for i in range(3) for j in range(3) for k in range(3))
    found = bootstrap(runs[:, None], aggregate.mean, chance(), 100_000, level=0.8, method="percentile")
    assert bounds(found) == pytest.approx([means[2], means[24]])


def test_resampling_is_within_tasks() -> None:
    """Each task keeps its own runs; tasks are drawn independently of each other."""
    tasks = [numpy.array([0.0, 1.0, 2.0]), numpy.array([10.0, 11.0])]
    drawn = list(resamples(tasks, chance(), 40_000))
    first, second = (numpy.concatenate([chunk[t] for chunk in drawn]) for t in (0, 1))
    assert first.shape == (40_000, 3) and second.shape == (40_000, 2)
    assert set(first.ravel()) == {0, 1, 2} and set(second.ravel()) == {10, 11}
    assert abs(float(numpy.corrcoef(first[:, 0], second[:, 0])[0, 1])) < 0.02
    assert numpy.bincount(first.ravel().astype(int)) / first.size == pytest.approx([1 / 3] * 3, abs=0.01)


def test_memory_is_bounded() -> None:
    for scores in (numpy.zeros((10, 50)), [numpy.zeros(300), numpy.zeros(200)], numpy.zeros((2 * CHUNK, 1))):
        sizes = [c.size if isinstance(c, numpy.ndarray) else sum(t.size for t in c) for c in resamples(scores, chance(), 3)]
        assert max(sizes) <= max(CHUNK, 2 * CHUNK) and sum(sizes) == 3 * (2 * CHUNK if len(scores) > 1000 else 500)


def test_noise_mends_the_spread_of_resamples() -> None:
    """Resampled means spread by (n - 1) / n of s^2 / n; noise of s / sqrt(n) on each run brings it to s^2 / n."""
    runs = SCORES[:, :1]
    for noise, share in ((None, 0.8), (runs.std(ddof=1) / math.sqrt(5) * numpy.ones(1), 1.0)):
        means = numpy.concatenate([c.mean((1, 2)) for c in resamples(runs, chance(), 100_000, noise) if isinstance(c, numpy.ndarray)])
        assert float(means.var()) == pytest.approx(share * float(runs.var(ddof=1)) / 5, rel=0.02)


def test_expanded_percentiles_reach_further() -> None:
    """Hesterberg's table: at n = 5 the 2.5 percentile becomes the 0.1, at n = 30 the 1.9."""
    assert expanded_tail(5, 0.95) == pytest.approx(0.000955, abs=2e-5)
    assert expanded_tail(30, 0.95) == pytest.approx(0.0188, abs=2e-4)
    plain, wide = (bootstrap(SCORES, aggregate.mean, chance(), method=m) for m in ("percentile", "expanded"))  # type: ignore[arg-type]
    assert wide.low < plain.low < plain.high < wide.high


def covered(statistic: partial[float], draw: partial[float], within: tuple[float, float] | None, experiments: int) -> float:
    """The share of experiments whose interval holds the truth."""
    rng = chance(11)
    truth = float(statistic(draw(rng, 500_000)))
    return float(numpy.mean([bootstrap(draw(rng, 5), statistic, rng, 500, within=within).holds(truth) for _ in range(experiments)]))


def test_five_seeds_cover() -> None:
    """Two standard errors of 400 experiments are 2.2 points: 90 % or less fails. `benchmarks/coverage.py` has the rest."""
    assert 0.925 <= covered(aggregate.mean, lambda rng, n: rng.normal(0.8, 0.02, (n, 1)), None, 400) <= 0.975
    assert 0.925 <= covered(aggregate.iqm, lambda rng, n: rng.normal([0.8, 0.4], 0.02, (n, 2)), None, 400) <= 0.975


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statistic", "draw", "within"),
    [
        (aggregate.mean, lambda rng, n: rng.normal(0.8, 0.02, (n, 1)), None),
        (aggregate.mean, lambda rng, n: rng.beta(20, 1, (n, 1)), (0.0, 1.0)),
        (aggregate.iqm, lambda rng, n: rng.normal(0.8, 0.02, (n, 1)), None),
        (aggregate.iqm, lambda rng, n: rng.normal([0.8, 0.4], 0.02, (n, 2)), None),
    ],
)
def test_five_seeds_cover_93_to_97_percent(statistic: partial[float], draw: partial[float], within: tuple[float, float] | None) -> None:
    assert 0.93 <= covered(statistic, draw, within, 2000) <= 0.97


def test_plain_percentiles_cover_too_little() -> None:
    rng = chance(12)
    plain = [bootstrap(rng.normal(size=(5, 1)), aggregate.mean, rng, 500, method="percentile").holds(0.0) for _ in range(400)]
    assert numpy.mean(plain) < 0.88


def test_runs_that_all_agree_have_no_width_and_say_so() -> None:
    for method in ("studentized", "expanded", "percentile"):
        found = bootstrap(numpy.array([[500.0, 1.0]] * 5), aggregate.iqm, chance(), 100, method=method)  # type: ignore[arg-type]
        assert bounds(found) == [250.5, 250.5] and "all runs of a task scored the same" in found.note


def test_one_run_is_not_enough_and_says_so() -> None:
    for scores in (SCORES[:1], [SCORES[:, 0], SCORES[:1, 1]]):
        for method in ("studentized", "expanded"):
            found = bootstrap(scores, aggregate.mean, chance(), 100, method=method)  # type: ignore[arg-type]
            assert not found.known and "one run of a task" in found.note and math.isfinite(found.value)
    plain = bootstrap(SCORES[:1], aggregate.mean, chance(), 100, method="percentile")
    assert plain.known and "one run of a task" in plain.note


def test_a_task_that_never_varies_does_not_hide_the_other() -> None:
    both = numpy.column_stack([SCORES[:, 0], numpy.ones(5)])
    alone, together = (bootstrap(s, aggregate.mean, chance(), 50_000) for s in (SCORES[:, :1], both))
    assert together.high - together.low == pytest.approx((alone.high - alone.low) / 2, rel=0.03) and not together.note


def test_too_many_equal_runs_for_a_standard_error() -> None:
    """The interquartile mean of four 500s and a 480 is 500 with no standard error; resamples with two 480s still reach below."""
    found = bootstrap(numpy.array([[500.0]] * 4 + [[480.0]]), aggregate.iqm, chance())
    assert found.low < 500 == found.high and "expanded percentiles stand in" in found.note


def test_bounds_stay_within_the_range() -> None:
    high = numpy.array([[0.99], [1.0], [0.97], [0.88], [1.0]])
    free, held = (bootstrap(high, aggregate.mean, chance(), within=w) for w in (None, (0.0, 1.0)))
    assert free.high > 1 > held.high and held.low < free.low
    assert spread(0.5, 0.1, 0.2, None) == (0.4, 0.7)
    low, top = spread(50.0, 10.0, 10.0, (0.0, 100.0))  # log-odds 0, slope 4 / 100: 1 / (1 + exp(+-0.4))
    assert [low, top] == pytest.approx([100 / (1 + math.exp(0.4)), 100 / (1 + math.exp(-0.4))])
    assert spread(1.0, 0.2, 0.2, (0.0, 1.0)) == (0.8, 1.0)
    with pytest.raises(ValueError, match=r"1\.2 does not lie within 0 to 1; leave `within` out"):
        spread(1.2, 0.1, 0.1, (0, 1))


def test_students_band_by_hand() -> None:
    """Runs 1 2 3: mean 2, standard error 1 / sqrt(3), t of two degrees of freedom 4.303. One run has no band."""
    low, value, high = student_band(numpy.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]))
    assert value.tolist() == [2, 5] and [low[1], high[1]] == [5, 5]
    assert [low[0], high[0]] == pytest.approx([2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)], abs=1e-4)
    assert numpy.isnan(student_band(numpy.ones((1, 4)))[0]).all()
    with pytest.raises(ValueError, match=r"runs\[0, 2\] is nan"):
        student_band(numpy.array([[1.0, 2.0, math.nan]]))


def test_improvement_of_five_over_five() -> None:
    x = numpy.arange(5.0)[:, None]
    sure, even = improvement_interval(x + 10, x), improvement_interval(x, x)
    assert sure.value == sure.high == 1 and sure.low == pytest.approx(0.643, abs=2e-3)  # Newcombe's method 5, solved by hand
    assert even.value == 0.5 and even.low + even.high == pytest.approx(1) and even.holds(0.75)
    back = improvement_interval(x, x + 10)
    assert [back.low, back.high] == pytest.approx([1 - sure.high, 1 - sure.low])
    assert not improvement_interval(x[:1], x).known
    two = improvement_interval(numpy.hstack([x + 10, x]), numpy.hstack([x, x]))
    assert two.value == 0.75 and even.low < two.low < 0.75 < two.high < 1


def test_improvement_covers() -> None:
    rng = chance(13)
    truth = float(stats.norm.cdf(1 / math.sqrt(2)))
    found = [improvement_interval(rng.normal(1, 1, (5, 1)), rng.normal(0, 1, (5, 1))).holds(truth) for _ in range(400)]
    assert 0.93 <= numpy.mean(found) <= 0.98


def test_profile_bands_are_wilsons() -> None:
    """4 of 5 above, z = 1.96: (p + z^2 / 2n +- z sqrt(p q / n + z^2 / 4n^2)) / (1 + z^2 / n) = 0.3755 and 0.9638."""
    low, share, high = profile_band(numpy.array([[0.1], [0.6], [0.7], [0.8], [0.9]]), [0.5, 0.95])
    assert share.tolist() == [0.8, 0.0]
    assert [low[0], high[0]] == pytest.approx([0.3755, 0.9638], abs=1e-4)
    assert low[1] == pytest.approx(0, abs=1e-12) and high[1] == pytest.approx(0.4345, abs=1e-4)  # z^2 / (n + z^2)
    low, share, high = profile_band(SCORES, [0.41, 0.75])
    assert share.tolist() == performance_profile(SCORES, [0.41, 0.75]).tolist() and (low < share).all() and (share < high).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 1.0}, "level is 1.0"),
        ({"samples": 0}, "samples is 0"),
        ({"method": "bca"}, "no method 'bca'; there are studentized, expanded, percentile"),
        ({"statistic": numpy.max}, "take method='expanded'"),
        ({"scores": numpy.zeros((2, 5, 2))}, "have a batch axis in front"),
        ({"within": (0.7, 1.0)}, "does not lie within 0.7 to 1.0"),
        ({"within": (0.0, math.inf)}, "does not lie within 0.0 to inf"),
    ],
)
def test_misuse_is_named(arguments: dict[str, object], message: str) -> None:
    known = {"scores": SCORES, "statistic": aggregate.mean, "rng": chance(), "samples": 50} | arguments
    with pytest.raises(ValueError, match=message):
        bootstrap(**known)  # type: ignore[arg-type]


def test_the_interval_of_items_is_wilsons_for_answers_of_one_item_each() -> None:
    """Wilson's closed form, at the 59 answers that the spread of 60 items is worth."""
    shares = numpy.array([1.0] * 18 + [0.0] * 42)
    z, n, p = 1.959963984540054, 59.0, 0.3
    middle, half = (p + z * z / (2 * n)) / (1 + z * z / n), z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = items_interval(shares)
    assert (found.low, found.value, found.high) == pytest.approx((middle - half, 0.3, middle + half))
    assert items_interval([1.0] * 10).low == pytest.approx(10 / (10 + z * z)) and items_interval([1.0] * 10).high == 1


@pytest.mark.parametrize(("a", "b", "items", "answers"), [(1.0, 1.0, 50, 4), (0.3, 0.3, 100, 8), (1.0, 20.0, 100, 1), (1.0, 20.0, 200, 4)])
def test_the_interval_of_items_holds_its_level(a: float, b: float, items: int, answers: int) -> None:
    """Several answers to an item that is hard or easy as a whole: 95 % of 1000 experiments, give or take two points."""
    rng = numpy.random.default_rng(5)
    chance = rng.beta(a, b, (1000, items))
    held = [items_interval(each).holds(a / (a + b)) for each in rng.binomial(answers, chance) / answers]
    assert 0.93 < sum(held) / 1000 < 0.97


@pytest.mark.parametrize("shares", [[], [[0.5]], [1.5], [-0.1], [math.nan]])
def test_the_interval_of_items_refuses_what_is_no_share(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="items"):
        items_interval(shares)
