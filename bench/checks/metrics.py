"""What a metric promises. Each contract asks a metric of one run for the number of a curve, one of several seeds for that of three."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from random import Random

import numpy
from numpy.typing import NDArray
from pandas import DataFrame

from bench.checks.expect import expect
from bench.metrics.base import Curve, FloatArray, Metric, RunMetric, SeedsMetric

STEPS = 30
COUNTS = ("step", "samples", "tokens", "verifier_calls", "updates", "seconds", "cpu_seconds")
Rows = dict[str, FloatArray]


def curve(metric: Metric, name: str) -> Rows:
    """A random learning curve of 30 records in [0, 1] with every column that the metric may read, one row in three without them.

    The arrays are read-only, so that writing into one raises.
    """
    random = Random(name)
    rows = {c: [random.random() if n % 3 else math.nan for n in range(STEPS)] for c in metric.columns()}
    rows |= {count: [(128.0 if place else 1.0) * n for n in range(STEPS)] for place, count in enumerate(COUNTS)}
    rows |= {"budget": [128.0 * STEPS] * STEPS, "diverged": [float(random.random() < 0.5)] * STEPS, "unrelated": [math.nan] * STEPS}
    found = {column: numpy.array(values) for column, values in rows.items()}
    for column in found.values():
        column.setflags(write=False)
    return found


def names_its_facts(metric: Metric) -> None:
    """`better` is "higher" or "lower", `scope` is that of the base class, and `needs` names at least one column."""
    expect(getattr(metric, "better", None) in ("higher", "lower"), "better must be 'higher' or 'lower'")
    expect(isinstance(metric, RunMetric | SeedsMetric), "a metric derives from RunMetric or from SeedsMetric")
    scope = "run" if isinstance(metric, RunMetric) else "seeds"
    expect(metric.scope == scope, f"scope is {metric.scope!r}; its base class says {scope!r}")
    for title, named in (("needs", getattr(metric, "needs", None)), ("also", metric.also)):
        fine = isinstance(named, tuple) and all(isinstance(n, str) and all(n.split("|")) for n in named)
        expect(fine and (named or title == "also"), f"{title} is {named!r}; it must be a tuple of column names")


def gives_a_number(metric: Metric) -> None:
    """What has every column gives one finite float or NaN, the same each time, and is left as it was."""
    for given in curves(metric):
        before = {name: dict(rows) for name, rows in given.items()}
        found, again = value(metric, given), value(metric, given)
        expect(type(found) is float and not math.isinf(found), f"gives {found!r} of type {type(found).__name__}")
        expect(same(found, again), f"gives {found}, then {again} for the same")
        expect(all(_untouched(rows, before[name]) for name, rows in given.items()), "changes the curve it is given")


def reads_only_what_it_needs(metric: Metric) -> None:
    """Neither the order of rows, nor the kind of table, nor columns beside `step` and those it names change it."""
    order = numpy.random.default_rng(1).permutation(STEPS)
    for given in curves(metric):
        wanted = value(metric, given)
        for title, other in (
            ("when the rows come in another order", {n: _picked(rows, order) for n, rows in given.items()}),
            ("without the columns it does not name", {n: {c: rows[c] for c in metric.columns()} for n, rows in given.items()}),
            ("of a pandas.DataFrame", {n: DataFrame(rows) for n, rows in given.items()}),
        ):
            found = value(metric, other)
            expect(same(found, wanted), f"gives {found} instead of {wanted} {title}")


def is_nan_without_data(metric: Metric) -> None:
    """A needed column that is missing or empty, and curves without rows, give NaN; a single record raises nothing."""
    whole = next(curves(metric))
    for title, lacking in poor(metric, whole):
        found = value(metric, lacking)
        expect(isinstance(found, float) and math.isnan(found), f"gives {found!r} {title}; NaN stands for undefined")
    single = value(metric, {name: _picked(rows, numpy.array([1])) for name, rows in whole.items()})
    expect(type(single) is float, f"gives {single!r} for a single record")


def curves(metric: Metric) -> Iterator[dict[str, Rows]]:
    """Three times what its scope asks for, by seed: one curve, or three."""
    for name in ("a", "b", "c"):
        seeds = range(1 if metric.scope == "run" else 3)
        yield {f"{name}:{seed}": curve(metric, f"{name}:{seed}") for seed in seeds}


def poor(metric: Metric, given: Mapping[str, Rows]) -> Iterator[tuple[str, dict[str, Rows]]]:
    """The same curves, each without something that the metric cannot do without."""
    for need in metric.needs:
        names = need.split("|")
        yield f"without {need!r}", {n: {c: v for c, v in rows.items() if c not in names} for n, rows in given.items()}
        yield f"with {need!r} empty", {n: rows | {c: numpy.full(STEPS, math.nan) for c in names} for n, rows in given.items()}
    yield "without rows", {n: _picked(rows, numpy.array([], dtype=int)) for n, rows in given.items()}


def value(metric: Metric, given: Mapping[str, Curve | DataFrame]) -> float:
    """The metric of what its scope asks for."""
    curves = list(given.values())
    return metric(curves[0]) if metric.scope == "run" else metric(curves)


def same(one: float, other: float) -> bool:
    """Equal but for rounding, or both undefined."""
    return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-15) or (math.isnan(one) and math.isnan(other))


def _picked(rows: Rows, places: NDArray[numpy.integer]) -> Rows:
    return {name: column[places] for name, column in rows.items()}


def _untouched(rows: Rows, before: Rows) -> bool:
    return rows.keys() == before.keys() and all(rows[name] is before[name] for name in rows)


CONTRACTS = [
    ("better, scope and needs are named", names_its_facts),
    ("a curve gives one number, twice the same", gives_a_number),
    ("rows may come in any order, and no other column is read", reads_only_what_it_needs),
    ("undefined is NaN", is_nan_without_data),
]
