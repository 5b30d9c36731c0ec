"""What a metric promises. Those that need several seeds at once are asked only what they say of themselves."""

from __future__ import annotations

import math
from random import Random

from pandas import DataFrame

from bench.checks.expect import expect
from bench.metrics.base import Metric

STEPS = 30


def curve(metric: Metric, name: str) -> DataFrame:
    """A random learning curve of 30 records in [0, 1] with every column that the metric needs, one in three of them missing."""
    random = Random(name)
    columns = {c: [random.random() if n % 3 else math.nan for n in range(STEPS)] for c in metric.needs}
    counts = {"step": list(range(STEPS)), "samples": [128 * n for n in range(STEPS)]}
    return DataFrame(columns | counts | {"unrelated": [math.nan] * STEPS})


def names_its_facts(metric: Metric) -> None:
    """`better` is "higher" or "lower", `scope` is "run" or "seeds", and `needs` names at least one column."""
    expect(getattr(metric, "better", None) in ("higher", "lower"), "better must be 'higher' or 'lower'")
    expect(metric.scope in ("run", "seeds"), f"scope is {metric.scope!r}; it must be 'run' or 'seeds'")
    needs = getattr(metric, "needs", None)
    named = isinstance(needs, tuple) and needs and all(isinstance(n, str) for n in needs)
    expect(named, f"needs is {needs!r}; it must be a tuple of column names")


def gives_a_number(metric: Metric) -> None:
    """A curve with every needed column gives one finite float or NaN, the same each time, and is left as it was."""
    for name in ("a", "b", "c") if metric.scope == "run" else ():
        given = curve(metric, name)
        before = given.copy(deep=True)
        found, again = metric(given), metric(given)
        expect(type(found) is float and not math.isinf(found), f"gives {found!r} of type {type(found).__name__}")
        expect(_same(found, again), f"gives {found}, then {again} for the same curve")
        expect(given.equals(before), "changes the curve it is given")


def reads_only_what_it_needs(metric: Metric) -> None:
    """Neither the order of rows nor columns beside `step` and those it names change it."""
    for name in ("a", "b", "c") if metric.scope == "run" else ():
        given = curve(metric, name)
        found, wanted = metric(given.sample(frac=1, random_state=1)), metric(given)
        expect(_same(found, wanted), f"gives {found} instead of {wanted} when the rows come in another order")
        bare = metric(given[sorted({"step", *metric.needs})])
        expect(_same(bare, wanted), f"gives {bare} instead of {wanted} without the columns it does not name")


def is_nan_without_data(metric: Metric) -> None:
    """A needed column that is missing or empty, and a curve without rows, give NaN; a single record raises nothing."""
    for column in metric.needs if metric.scope == "run" else ():
        given = curve(metric, "a")
        for title, poor in (
            (f"without {column!r}", given.drop(columns=column)),
            (f"with {column!r} empty", given.assign(**{column: math.nan})),
            ("without rows", given.iloc[:0]),
        ):
            found = metric(poor)
            expect(isinstance(found, float) and math.isnan(found), f"gives {found!r} {title}; NaN stands for undefined")
        single = metric(given.dropna(subset=list(metric.needs)).iloc[:1])
        expect(type(single) is float, f"gives {single!r} for a single record")


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


CONTRACTS = [
    ("better, scope and needs are named", names_its_facts),
    ("a curve gives one number, twice the same", gives_a_number),
    ("rows may come in any order, and no other column is read", reads_only_what_it_needs),
    ("undefined is NaN", is_nan_without_data),
]
