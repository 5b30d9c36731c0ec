"""What an experiment of this size could have shown, and how large it would have to be: read from standard errors, never from the difference
that was observed (power "at the observed effect" only says the p value again; Hoenig and Heisey 2001, The American Statistician 55)."""

from __future__ import annotations

import math

from scipy import optimize, stats

from bench.stats.estimate import Estimate

MOST = 10_000  # seeds beyond which the answer is that it cannot be done


def power(difference: float, error: float, freedom: float, alpha: float = 0.05) -> float:
    """How often a two-sided t test at `alpha` finds a true difference, given the standard error and its degrees of freedom."""
    if error == 0:
        return 1.0 if difference else alpha
    freedom = min(freedom, 1e5)
    limit, away = float(stats.t.isf(alpha / 2, freedom)), abs(difference) / error
    wrong_side = float(stats.nct.cdf(-limit, freedom, away))  # where it is next to nothing, scipy's loses itself and says NaN
    return float(stats.nct.sf(limit, freedom, away)) + (0.0 if math.isnan(wrong_side) else wrong_side)


def smallest_difference(estimate: Estimate, wanted: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true difference that data with these spreads show in a share `wanted` of experiments; NaN where the spread is unknown.

    A tie between algorithms means that they differ by less than about this, not that they are equal. 0 where nothing varied.
    """
    _check(wanted, alpha)
    if math.isnan(estimate.error):
        return math.nan
    if not estimate.error:
        return 0.0
    top = float(stats.t.isf(alpha / 2, min(estimate.freedom, 1e5))) + 1.0
    while power(top, 1.0, estimate.freedom, alpha) < wanted:
        top *= 2
    found = optimize.brentq(lambda away: power(away, 1.0, estimate.freedom, alpha) - wanted, 0.0, top, xtol=1e-10)
    return float(found) * estimate.error


def seeds_needed(difference: float, estimate: Estimate, wanted: float = 0.8, alpha: float = 0.05) -> int | None:
    """How many seeds of each entry show a true `difference` in a share `wanted` of experiments; None where no number up to 10,000 does.

    More seeds average out the seeds' part alone: where the held-out items' part is too large by itself, only more items help. At least 2.
    """
    _check(wanted, alpha)
    if not difference or math.isnan(estimate.error):
        return None

    def enough(seeds: int) -> bool:
        from_seeds = estimate.per_seed / seeds
        error = math.sqrt(from_seeds + estimate.fixed)
        freedom = estimate.groups * (seeds - 1) * (error**2 / from_seeds) ** 2 if from_seeds else math.inf
        return power(difference, error, freedom, alpha) >= wanted

    if not enough(MOST):
        return None
    low, high = 1, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(wanted: float, alpha: float) -> None:
    if not 0 < alpha < wanted < 1:
        raise ValueError(f"a power of {wanted} at a level of {alpha} cannot be asked for; 0 < level < power < 1, such as 0.8 at 0.05")
