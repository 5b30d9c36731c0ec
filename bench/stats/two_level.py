"""Two sources of chance at once: which seeds were trained, and which held-out items they were asked.

Scores a[s, k] of S seeds on the same K items are crossed: a seed is good on all items, an item easy for all seeds. The mean over both
varies by V_S + V_K - V_E, where V_S is the variance of the seeds' means over S, V_K that of the items' means over K, and V_E, which both
contain, that of what is left over S * K (two-way random effects; Searle, Casella and McCulloch 1992, "Variance Components", ch. 4). Each
is unbiased; the seeds' part V_S - V_E is cut at 0. Bounds are Student's with the degrees of freedom of such a sum (Satterthwaite 1946,
Biometrics Bulletin 2). Resampling both axes instead (Owen 2007, Annals of Applied Statistics 1, "The pigeonhole bootstrap") counts V_E
three times and is too wide, resampling items alone knows nothing of seeds and is too narrow. Differences are paired by item: what makes an
item easy for both algorithms drops out. Seeds are taken as independent between algorithms; where equal seeds do better together, intervals
are wider than they need be.
"""

from __future__ import annotations

import math

from bench.stats.estimate import Estimate, unknown
from bench.stats.scores import FloatArray, finite

ONE_SEED = "one seed: how much another would differ is unknown"
ONE_ITEM = "one held-out item: how much others would differ is unknown"
NO_SPREAD = "all seeds scored the same: there is no width to see, which is not to say that another seed could not differ"


def score(a: FloatArray) -> Estimate:
    """The mean of a (S, K), for new seeds of the specification and new items of the kind. Raises ValueError where a score is missing."""
    held = _checked(a, "scores")
    return _estimate(held.mean(0), [held])


def difference(a: FloatArray, b: FloatArray) -> Estimate:
    """Mean of a (S, K) less mean of b (S2, K), the same K items in the same order, for new seeds of both and new items that both are asked.

    Raises ValueError where a score is missing or the numbers of items differ.
    """
    ours, theirs = _checked(a, "scores of the first"), _checked(b, "scores of the second")
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(f"{ours.shape[1]} items cannot be paired with {theirs.shape[1]}; compare by seed, `difference_of_seeds`, instead")
    return _estimate(ours.mean(0) - theirs.mean(0), [ours, theirs])


def score_of_seeds(means: FloatArray) -> Estimate:
    """The mean of (S,) seeds' scores, for new seeds on the same items: Student's."""
    return _of_seeds([finite(means, "scores")])


def difference_of_seeds(x: FloatArray, y: FloatArray) -> Estimate:
    """Mean of (S,) scores less mean of (S2,) others, for new seeds on the same items: Welch's (1947, Biometrika 34). For algorithms that
    were asked different items."""
    return _of_seeds([finite(x, "scores of the first"), finite(y, "scores of the second")])


def _estimate(items: FloatArray, entries: list[FloatArray]) -> Estimate:
    """`items` (K,): what each item says, averaged over seeds. `entries`: the (S, K) scores behind it, one array or two."""
    value, count = float(items.mean()), items.size
    if min(len(entry) for entry in entries) == 1 or count == 1:
        return unknown(value, ONE_ITEM if count == 1 else ONE_SEED)
    from_items = float(items.var(ddof=1)) / count
    seeds = [(float(entry.mean(1).var(ddof=1)) / len(entry), len(entry)) for entry in entries]
    rest = [(_left_over(entry) / entry.size, (len(entry) - 1) * (count - 1)) for entry in entries]
    from_seeds, both = sum(v for v, _ in seeds), sum(v for v, _ in rest)
    variance = from_items + max(from_seeds - both, 0.0)
    squares = from_items**2 / (count - 1)
    if from_seeds > both:
        squares += sum(v**2 / (size - 1) for v, size in seeds) + sum(v**2 / freedom for v, freedom in rest)
    least = min(count, *(size for _, size in seeds)) - 1
    return Estimate(
        value=value,
        error=math.sqrt(variance),
        freedom=max(variance**2 / squares, least) if variance else math.inf,
        per_seed=sum(v * size for v, size in seeds),
        fixed=max(from_items - both, 0.0),
        groups=len(entries),
        note=NO_SPREAD if not from_seeds else "",
    )


def _of_seeds(entries: list[FloatArray]) -> Estimate:
    if any(entry.ndim != 1 or not entry.size for entry in entries):
        raise ValueError(f"scores have shapes {[entry.shape for entry in entries]}; one row of at least one seed each is needed")
    value = float(entries[0].mean() - (entries[1].mean() if len(entries) == 2 else 0.0))
    if min(entry.size for entry in entries) == 1:
        return unknown(value, ONE_SEED)
    parts = [(float(entry.var(ddof=1)) / entry.size, entry.size) for entry in entries]
    variance, squares = sum(v for v, _ in parts), sum(v**2 / (size - 1) for v, size in parts)
    return Estimate(
        value=value,
        error=math.sqrt(variance),
        freedom=variance**2 / squares if variance else math.inf,
        per_seed=sum(v * size for v, size in parts),
        fixed=0.0,
        groups=len(entries),
        note="" if variance else NO_SPREAD,
    )


def _left_over(scores: FloatArray) -> float:
    """The variance of what neither seed nor item explains."""
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    return float((rest**2).sum() / ((scores.shape[0] - 1) * (scores.shape[1] - 1)))


def _checked(scores: FloatArray, name: str) -> FloatArray:
    held = finite(scores, name)
    if held.ndim != 2 or not held.size:
        raise ValueError(f"{name} have shape {held.shape}; (seeds, items) with at least one of each is needed")
    return held
