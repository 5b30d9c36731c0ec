"""Contracts as `bench check` runs them, on every metric and sampler, and on metrics that break them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy
import pytest
from breaking import broken_by

from bench import checks, registry
from bench.errors import ConfigError, MissingError
from bench.metrics.base import Curve, Metric, Table
from bench.metrics.divergence_rate import DivergenceRate
from bench.metrics.final_score import FinalScore
from tasks.last_digit import LastDigit

CASES = [
    pytest.param(kind, name, contract, id=f"{kind}-{name}-{title}")
    for kind in ("metrics", "samplers")
    for name in registry.names(kind)
    for title, contract in checks.contracts(kind, registry.load(kind, name)())
]


@pytest.mark.parametrize(("kind", "name", "contract"), CASES)
def test_every_metric_and_sampler_keeps(kind: str, name: str, contract: Callable[[Any], None]) -> None:
    subject = registry.load(kind, name)()
    if kind == "samplers":
        try:
            subject.ready()
        except MissingError as reason:  # vLLM, which has an environment of its own: `make vllm` runs these there
            pytest.skip(str(reason))
    contract(subject)


def test_a_run_reports_every_contract() -> None:
    outcomes = list(checks.run("tasks", "last_digit"))
    assert [o.title for o in outcomes] == [title for title, _ in checks.contracts("tasks", LastDigit())]
    assert all(o.passed and not o.detail for o in outcomes)


def test_names_and_kinds_must_exist() -> None:
    with pytest.raises(ConfigError, match="no kind of plug-in called 'rules'"):
        checks.contracts("rules")
    with pytest.raises(ConfigError, match="no metric called 'final_scores'"):
        list(checks.run("metrics", "final_scores"))


@dataclass(frozen=True, kw_only=True)
class NeedsASetting(FinalScore):
    """Cannot be built."""

    threshold: float = field()


@dataclass(frozen=True, kw_only=True)
class Crashes(FinalScore):
    """Divides by zero."""

    def measure(self, curve: Curve) -> float:
        return 1 / 0


@pytest.mark.parametrize(("cls", "failed"), [(NeedsASetting, "can be built"), (Crashes, "a curve gives one number")])
def test_a_crash_is_an_outcome(cls: type[Metric], failed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda kind, name: cls)
    outcomes = list(checks.run("metrics", "any"))
    broken = next(o for o in outcomes if o.title.startswith(failed))
    assert not broken.passed and "Error: " in broken.detail
    assert len(outcomes) == (1 if cls is NeedsASetting else len(checks.contracts("metrics", Crashes())))


@dataclass(frozen=True, kw_only=True)
class Untold(FinalScore):
    better: ClassVar[Any] = "more"


@dataclass(frozen=True, kw_only=True)
class Nameless(FinalScore):
    """Fine but for its direction."""

    better: ClassVar[Any] = "more"


@dataclass(frozen=True, kw_only=True)
class Misplaced(FinalScore):
    """Says that it is of several seeds, and is of one run."""

    scope: ClassVar[Any] = "seeds"


@dataclass(frozen=True, kw_only=True)
class FirstRow(FinalScore):
    """Takes the rows as they come."""

    def __call__(self, given: Table) -> float:
        scores = [] if "eval_score" not in given else [x for x in numpy.asarray(given["eval_score"]) if not math.isnan(x)]
        return float(scores[0]) if scores else math.nan


@dataclass(frozen=True, kw_only=True)
class ReadsMore(FinalScore):
    """Reads a column that it does not name."""

    def __call__(self, given: Table) -> float:
        return super().__call__(given) + float("unrelated" in given)


@dataclass(frozen=True, kw_only=True)
class ArraysAlone(FinalScore):
    """Cannot do with a table of another library."""

    def __call__(self, given: Table) -> float:
        return super().__call__(given) if isinstance(given, dict) else 0.0


@dataclass(frozen=True, kw_only=True)
class ZeroForNothing(FinalScore):
    """Calls the undefined 0."""

    def __call__(self, given: Table) -> float:
        found = super().__call__(given)
        return 0.0 if math.isnan(found) else found


@dataclass(frozen=True, kw_only=True)
class SpoilsTheCurve(FinalScore):
    """Writes into what it is given."""

    def __call__(self, given: Any) -> float:
        given["unrelated"] = numpy.ones(len(given["step"]))
        return super().__call__(given)


@dataclass(frozen=True, kw_only=True)
class SpoilsTheArray(FinalScore):
    """Writes into the arrays it is given."""

    def __call__(self, given: Table) -> float:
        if "eval_score" in given:
            numpy.asarray(given["eval_score"])[:] = 1.0
        return super().__call__(given)


@dataclass(frozen=True, kw_only=True)
class Infinite(FinalScore):
    """Divides by nothing."""

    def measure(self, curve: Curve) -> float:
        return math.inf


@dataclass(frozen=True, kw_only=True)
class FirstSeed(DivergenceRate):
    """Looks at one seed of all."""

    needs: ClassVar[tuple[str, ...]] = ("eval_score",)

    def measure(self, curves: Sequence[Curve]) -> float:
        return float(curves[0]["eval_score"][0])


@dataclass(frozen=True, kw_only=True)
class CountsAll(DivergenceRate):
    """Counts a seed of which it knows nothing."""

    def __call__(self, given: Sequence[Table]) -> float:
        return super().__call__(given) / len(given) if given else math.nan


@dataclass(frozen=True, kw_only=True)
class ZeroForNoSeed(DivergenceRate):
    """Calls the undefined 0."""

    def __call__(self, given: Sequence[Table]) -> float:
        return super().__call__(given) if given else 0.0


@dataclass(frozen=True, kw_only=True)
class WantsTwo(DivergenceRate):
    """Breaks down where a seed is alone."""

    def measure(self, curves: Sequence[Curve]) -> float:
        return super().measure(curves) * len(curves) / (len(curves) - 1)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (FinalScore(), set()),
        (Untold(), {"has_a_summary", "names_its_facts"}),
        (Nameless(), {"names_its_facts"}),
        (Misplaced(), {"names_its_facts", "gives_a_number", "reads_only_what_it_needs", "is_nan_without_data"}),
        (Crashes(), {"gives_a_number", "reads_only_what_it_needs", "is_nan_without_data"}),
        (FirstRow(), {"reads_only_what_it_needs"}),
        (ReadsMore(), {"reads_only_what_it_needs"}),
        (ArraysAlone(), {"reads_only_what_it_needs"}),
        (ZeroForNothing(), {"is_nan_without_data"}),
        (SpoilsTheCurve(), {"gives_a_number"}),
        (SpoilsTheArray(), {"gives_a_number", "reads_only_what_it_needs", "is_nan_without_data"}),
        (Infinite(), {"gives_a_number"}),
        (DivergenceRate(), set()),
        (FirstSeed(), {"takes_seeds_as_they_come"}),
        (CountsAll(), {"takes_seeds_as_they_come"}),
        (ZeroForNoSeed(), {"takes_seeds_as_they_come"}),
        (WantsTwo(), {"takes_seeds_as_they_come"}),
    ],
    ids=lambda x: type(x).__name__,
)
def test_metric_contracts_catch(metric: Metric, expected: set[str]) -> None:
    assert broken_by(metric, checks.contracts("metrics", metric)) == expected
