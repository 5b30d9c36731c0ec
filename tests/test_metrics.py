"""Every metric on one curve small enough to work out by hand, and on the curves that leave it undefined."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from bench import registry
from bench.errors import ConfigError
from bench.metrics.samples_to_threshold import SamplesToThreshold
from bench.provenance import provenance

# Four evaluations, not evenly spaced, and one step between them without: 0.2 -> 0.6 -> 0.3 -> 0.5 at 0, 100, 300, 400 samples.
CURVE = pandas.DataFrame(
    {
        "step": [0, 1, 2, 3, 4],
        "samples": [0, 100, 200, 300, 400],
        "eval_score": [0.2, 0.6, math.nan, 0.3, 0.5],
        "entropy/token": [math.nan, 1.2, 0.4, 0.7, 0.9],
    }
)
EXPECTED = {
    "final_score": 0.5,
    "best_score": 0.6,
    "area_under_curve": (0.4 * 100 + 0.45 * 200 + 0.4 * 100) / 400,  # 0.425
    "samples_to_threshold": 100.0,
    "entropy_floor": 0.4,
    "maximum_drawdown": 0.3,
}


def measure(name: str, curve: pandas.DataFrame) -> float:
    value = registry.load("metrics", name)()(curve)
    assert isinstance(value, float)
    return value


def test_every_metric_has_a_hand_checked_value() -> None:
    assert set(EXPECTED) <= set(registry.names("metrics"))


@pytest.mark.parametrize("name", EXPECTED)
def test_hand_checked(name: str) -> None:
    assert measure(name, CURVE) == pytest.approx(EXPECTED[name], abs=1e-12)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    assert measure(name, CURVE.iloc[[3, 0, 4, 2, 1]]) == measure(name, CURVE)


@pytest.mark.parametrize("name", EXPECTED)
def test_undefined_is_nan(name: str) -> None:
    metric = registry.load("metrics", name)
    for column in metric.needs:
        assert math.isnan(measure(name, CURVE.drop(columns=column)))
        assert math.isnan(measure(name, CURVE.assign(**{column: math.nan})))
    assert math.isnan(measure(name, CURVE.iloc[:0]))


def test_one_evaluation_has_no_area_and_no_fall() -> None:
    assert math.isnan(measure("area_under_curve", CURVE.iloc[:1]))
    assert measure("maximum_drawdown", CURVE.iloc[:1]) == 0.0


def test_a_threshold_may_be_chosen_and_may_be_missed() -> None:
    assert SamplesToThreshold(threshold=0.2)(CURVE) == 0.0
    assert math.isnan(SamplesToThreshold(threshold=0.61)(CURVE))
    with pytest.raises(ConfigError, match="threshold is nan"):
        SamplesToThreshold(threshold=math.nan)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_metric_declares_itself(name: str) -> None:
    metric = registry.load("metrics", name)
    assert metric.better in ("higher", "lower")
    assert metric.scope == "run"
    assert metric.needs and metric.__doc__ and "\n" not in metric.__doc__


def test_metrics_import_no_pandas() -> None:
    code = "import sys\nfrom bench import registry\n[registry.load('metrics', n) for n in registry.names('metrics')]\n"
    code += "print([n for n in ('torch', 'pandas') if n in sys.modules])"
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
