"""What every metric shares: how it reads a curve, what it does without data, and that it is fast to import."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy
import pandas
import pytest

from bench import registry
from bench.checks.metrics import curve
from bench.metrics.base import Curve, RunMetric, SeedsMetric
from bench.metrics.final_score import FinalScore
from bench.provenance import provenance

NAMES = registry.names("metrics")


@dataclass(frozen=True, kw_only=True)
class Seen(RunMetric):
    """Keeps what it was given to measure."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("a", "b|c")
    also: ClassVar[tuple[str, ...]] = ("d",)
    seen: ClassVar[list[Curve]] = []

    def measure(self, curve: Curve) -> float:
        self.seen.append(curve)
        return float(len(curve["a"]))


@dataclass(frozen=True, kw_only=True)
class Apart(Seen):
    """The same of every row."""

    joint: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class Many(SeedsMetric):
    """How many seeds there are."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ("a",)

    def measure(self, curves: Sequence[Curve]) -> float:
        return float(len(curves))


def rows(metric: RunMetric, **columns: Sequence[float]) -> dict[str, list[float]]:
    """The columns that `measure` was given."""
    metric({name: numpy.array(values, dtype=float) for name, values in columns.items()})
    assert isinstance(metric, Seen)
    return {name: list(column) for name, column in metric.seen[-1].items()}


NAN = math.nan


def test_rows_without_a_needed_value_are_dropped_and_the_rest_is_ordered() -> None:
    assert rows(Seen(), step=[3, 1, 2], a=[30, 10, 20], b=[1, NAN, 2], e=[0, 0, 0]) == {"a": [20, 30], "b": [2, 1]}


def test_without_steps_rows_stay_as_they_come() -> None:
    assert rows(Seen(), a=[30, 10], b=[1, 2]) == {"a": [30, 10], "b": [1, 2]}


def test_equal_steps_stay_in_their_order() -> None:
    assert rows(Seen(), step=[2, 1, 1], a=[30, 10, 20], b=[1, 1, 1])["a"] == [10, 20, 30]


def test_the_first_alternative_with_a_value_is_taken_under_the_first_ones_name() -> None:
    assert rows(Seen(), a=[1, 2], b=[3, NAN], c=[5, 6]) == {"a": [1], "b": [3]}
    assert rows(Seen(), a=[1, 2], b=[NAN, NAN], c=[5, 6])["b"] == rows(Seen(), a=[1, 2], c=[5, 6])["b"] == [5, 6]
    assert math.isnan(Seen()({"a": [1.0], "b": [NAN]}))


def test_columns_that_are_only_looked_at_need_not_be_there() -> None:
    assert "d" not in rows(Seen(), a=[1, 2], b=[3, 4])
    found = rows(Seen(), step=[2, 1, 3], a=[1, 2, 3], b=[3, 4, NAN], d=[NAN, 7, 8])
    assert found["a"] == [2, 1] and found["d"][0] == 7 and math.isnan(found["d"][1])


def test_every_row_counts_where_columns_are_read_apart() -> None:
    found = rows(Apart(), step=[2, 1], a=[1, NAN], b=[NAN, 4])
    assert found["b"][0] == 4 and math.isnan(found["a"][0]) and found["a"][1] == 1
    assert math.isnan(Apart()({"a": [NAN], "b": [1.0]}))


def test_what_is_not_finite_counts_as_missing() -> None:
    assert FinalScore()({"step": [0, 1, 2], "eval_score": [0.25, 0.5, math.inf]}) == 0.5
    assert FinalScore()({"step": [0, 1, 2], "eval_score": [0.25, None, None]}) == 0.25


def test_every_column_that_may_be_read_is_named() -> None:
    assert Seen.columns() == ("step", "a", "b", "c", "d")


def test_columns_of_different_length_are_told() -> None:
    with pytest.raises(ValueError, match=r"one value for each record; these have \{'a': 2, 'b': 1\}"):
        Seen()({"a": [1.0, 2.0], "b": [1.0]})


def test_one_curve_and_several_are_not_taken_for_one_another() -> None:
    with pytest.raises(TypeError, match="not list; scope 'run' takes one"):
        FinalScore()([{"eval_score": [1.0]}])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not str; scope 'run' takes one, scope 'seeds' a list"):
        Many()({"a": [1.0]})  # type: ignore[arg-type]


def test_seeds_without_what_is_needed_are_left_out() -> None:
    whole, poor = {"a": [1.0]}, {"a": [NAN], "b": [1.0]}
    assert Many()([whole, poor, {}, whole]) == 2
    assert math.isnan(Many()([poor])) and math.isnan(Many()([]))


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_declares_itself_in_one_line(name: str) -> None:
    metric = registry.load("metrics", name)
    assert metric.better in ("higher", "lower") and metric.needs
    assert metric.__doc__ and "\n" not in metric.__doc__ and metric.__doc__.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_contracts_ask_every_metric_for_real_numbers(name: str) -> None:
    """Of curves that leave a metric undefined, its contracts would say nothing."""
    metric = registry.load("metrics", name)()
    seeds = [[curve(metric, f"{letter}:{seed}") for seed in range(3)] for letter in "abc"]
    values = [metric(one[0] if metric.scope == "run" else one) for one in seeds]
    rare = {"entropy_collapse_step", "collapse_step", "entropy_per_score"}  # random walks seldom do this
    assert not all(math.isnan(value) for value in values) or name in rare


def test_numbers_of_a_data_frame_are_those_of_its_columns() -> None:
    frame = pandas.DataFrame({"step": [2, 0, 1], "samples": [200, 0, 100], "eval_score": [None, 0.25, 0.75]})
    assert registry.load("metrics", "area_under_curve")()(frame) == 0.5


def test_metrics_import_neither_torch_nor_pandas() -> None:
    code = "import sys\nfrom bench import registry\n[registry.load('metrics', n) for n in registry.names('metrics')]\n"
    code += "print([n for n in ('torch', 'pandas', 'scipy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert done.stdout.strip() == "[]"


def test_provenance_names_versions_and_machine() -> None:
    found = provenance()
    assert found["packages"]["torch"] and found["python"] and found["cores"] >= 1
    if (Path(__file__).parents[1] / ".git").exists() and "revision" in found:
        assert len(found["revision"]) == 40 and isinstance(found["dirty"], bool)


def test_provenance_does_without_git_or_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = provenance()
    assert "revision" not in found and found["bench"]
