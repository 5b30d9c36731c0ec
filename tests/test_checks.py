"""Contracts as `bench check` runs them, on every metric and sampler, and on metrics that break them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from breaking import broken_by
from pandas import DataFrame

from bench import checks, registry
from bench.errors import ConfigError
from bench.metrics.base import Metric
from bench.metrics.final_score import FinalScore
from tasks.last_digit import LastDigit

CASES = [
    pytest.param(kind, name, contract, id=f"{kind}-{name}-{title}")
    for kind in ("metrics", "samplers")
    for name in registry.names(kind)
    for title, contract in checks.contracts(kind)
]


@pytest.mark.parametrize(("kind", "name", "contract"), CASES)
def test_every_metric_and_sampler_keeps(kind: str, name: str, contract: Callable[[Any], None]) -> None:
    contract(registry.load(kind, name)())


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

    def measure(self, curve: DataFrame) -> float:
        return 1 / 0


@pytest.mark.parametrize(("cls", "failed"), [(NeedsASetting, "can be built"), (Crashes, "a curve gives one number")])
def test_a_crash_is_an_outcome(cls: type[Metric], failed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda kind, name: cls)
    outcomes = list(checks.run("metrics", "any"))
    broken = next(o for o in outcomes if o.title.startswith(failed))
    assert not broken.passed and "Error: " in broken.detail
    assert len(outcomes) == (1 if cls is NeedsASetting else len(checks.contracts("metrics")))


@dataclass(frozen=True, kw_only=True)
class Untold(FinalScore):
    better: ClassVar[Any] = "more"


@dataclass(frozen=True, kw_only=True)
class Nameless(FinalScore):
    """Fine but for its direction."""

    better: ClassVar[Any] = "more"


@dataclass(frozen=True, kw_only=True)
class FirstRow(FinalScore):
    """Takes the rows as they come."""

    def __call__(self, curve: DataFrame) -> float:
        scores = [] if "eval_score" not in curve else curve["eval_score"].dropna().tolist()
        return float(scores[0]) if scores else math.nan


@dataclass(frozen=True, kw_only=True)
class ZeroForNothing(FinalScore):
    """Calls the undefined 0."""

    def __call__(self, curve: DataFrame) -> float:
        found = super().__call__(curve)
        return 0.0 if math.isnan(found) else found


@dataclass(frozen=True, kw_only=True)
class SpoilsTheCurve(FinalScore):
    """Writes into what it is given."""

    def __call__(self, curve: DataFrame) -> float:
        curve["unrelated"] = 1.0
        return super().__call__(curve)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (FinalScore(), set()),
        (Untold(), {"has_a_summary", "names_its_facts"}),
        (Nameless(), {"names_its_facts"}),
        (Crashes(), {"gives_a_number", "reads_only_what_it_needs", "is_nan_without_data"}),
        (FirstRow(), {"reads_only_what_it_needs"}),
        (ZeroForNothing(), {"is_nan_without_data"}),
        (SpoilsTheCurve(), {"gives_a_number"}),
    ],
    ids=lambda x: type(x).__name__,
)
def test_metric_contracts_catch(metric: Metric, expected: set[str]) -> None:
    assert broken_by(metric, checks.contracts("metrics")) == expected
