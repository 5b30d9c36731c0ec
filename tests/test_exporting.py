"""Results in the form that marl-eval, rliable and readers of tables take."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy
import pandas
import pytest
from rliables import rliable
from runs import spec, store
from typer.testing import CliRunner

from bench.cli import app
from bench.config import Choice, RunSpec
from bench.errors import ConfigError
from bench.exchange.exporting import export
from bench.record import Items, Record
from bench.run_folder import RunFolder


def score(algorithm: str, task: str, seed: int, step: int) -> float:
    """Different for every run and evaluation."""
    return (len(algorithm) * 1000 + len(task) * 100 + seed * 10 + step) / 10_000


def made(root: Path, algorithm: str, task: str, seed: int, evaluations: int = 3, diverges: bool = False, items: bool = True) -> None:
    wanted: RunSpec = replace(spec(seed, algorithm), task=Choice(task))
    with store(root).open(wanted, {}) as folder:
        for step in range(evaluations):
            _append(folder, step, score(algorithm, task, seed, step), items)
        if diverges:
            folder.fail("diverged", "entropy is nan at step 3")
        else:
            folder.finish({})


def _append(folder: RunFolder, step: int, value: float, items: bool) -> None:
    counts = dict.fromkeys(("samples", "tokens", "verifier_calls", "updates"), 10 * step)
    kept = Items("k", (value - 0.01, value + 0.01)) if items else None
    probes = {"entropy/token": 1.5 - step}
    folder.append(Record(step=step, **counts, seconds=1, cpu_seconds=1, train_score=None, eval_score=value, probes=probes, items=kept))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two algorithms on two tasks, with three and with two seeds."""
    root = tmp_path / "results"
    for task in ("sums", "digits"):
        for seed in range(3):
            made(root, "grpo", task, seed)
        for seed in range(2):
            made(root, "gspo2", task, seed)
    return root


def test_rliable_arrays_are_runs_by_tasks_by_evaluations(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert [path.name for path in export(results, "rliable", out).files] == ["scores.npz", "curves.npz", "axes.json"]
    axes, final, curves = (
        json.loads((out / "axes.json").read_text()),
        dict(numpy.load(out / "scores.npz")),
        dict(numpy.load(out / "curves.npz")),
    )
    assert axes["tasks"] == ["digits-tiny", "sums-tiny"] and {k: v.shape for k, v in final.items()} == {"grpo": (3, 2), "gspo2": (2, 2)}
    assert {k: v.shape for k, v in curves.items()} == {"grpo": (3, 2, 3), "gspo2": (2, 2, 3)}
    for name in final:
        for j, task in enumerate(axes["tasks"]):
            for i, seed in enumerate(axes["seeds"][name][task]):
                expected = [score(name, task.removesuffix("-tiny"), seed, step) for step in range(3)]
                assert curves[name][i, j].tolist() == pytest.approx(expected) and final[name][i, j] == curves[name][i, j, -1]
                assert axes["samples"][name][task][i] == [0, 10, 20]


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_rliable_takes_the_files_as_they_are(results: Path, tmp_path: Path) -> None:
    library, metrics = rliable()
    export(results, "rliable", tmp_path / "out")
    scores = dict(numpy.load(tmp_path / "out" / "scores.npz"))
    both = lambda x: numpy.array([metrics.aggregate_mean(x), metrics.aggregate_iqm(x)])  # noqa: E731
    points, intervals = library.get_interval_estimates(scores, both, reps=50)
    for name, seeds in (("grpo", 3), ("gspo2", 2)):
        values = [score(name, task, seed, 2) for task in ("sums", "digits") for seed in range(seeds)]
        assert points[name][0] == pytest.approx(sum(values) / len(values)) and intervals[name].shape == (2, 2)
    curves = dict(numpy.load(tmp_path / "out" / "curves.npz"))
    found, _ = library.get_interval_estimates(curves, lambda x: numpy.array([metrics.aggregate_mean(x[..., i]) for i in range(3)]), reps=50)
    assert found["gspo2"][2] == pytest.approx(points["gspo2"][0])


def test_marl_eval_layout(tmp_path: Path) -> None:
    root = tmp_path / "results"
    for task in ("sums", "digits"):
        for seed in range(2):
            made(root, "grpo", task, seed)
            made(root, "gspo2", task, seed, items=False)
    out = tmp_path / "sub" / "all.json"
    export(root, "marl-eval", out)
    held = json.loads(out.read_text())
    assert list(held) == ["tiny"] and sorted(held["tiny"]) == ["digits-tiny", "sums-tiny"]
    run = held["tiny"]["sums-tiny"]["grpo"]["seed_1"]
    assert list(run) == ["step_0", "step_1", "step_2", "absolute_metrics"] and run["step_2"]["step_count"] == 20
    value = score("grpo", "sums", 1, 2)
    assert run["step_2"]["score"] == run["absolute_metrics"]["score"] == pytest.approx([value - 0.01, value + 0.01])
    plain = held["tiny"]["digits-tiny"]["gspo2"]["seed_0"]
    assert plain["step_1"] == {"step_count": 10, "score": [score("gspo2", "digits", 0, 1)]}


def test_unequal_numbers_of_seeds_are_said_with_the_remedy(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not the same number of seeds \(grpo on digits-tiny: 3, .*gspo2 on sums-tiny: 2\).*--common"):
        export(results, "marl-eval", tmp_path / "all.json")
    found = export(results, "marl-eval", tmp_path / "all.json", common=True)
    held = json.loads((tmp_path / "all.json").read_text())["tiny"]
    assert {len(runs) for task in held.values() for runs in task.values()} == {2} and "first 2 seeds" in found.notes[0]
    made(results, "gspo2", "sums", 2)
    with pytest.raises(ConfigError, match=r"gspo2 on digits-tiny: 2, gspo2 on sums-tiny: 3"):
        export(results, "rliable", tmp_path / "out")
    export(results, "rliable", tmp_path / "out", common=True)
    assert {k: v.shape for k, v in dict(numpy.load(tmp_path / "out" / "scores.npz")).items()} == {"grpo": (3, 2), "gspo2": (2, 2)}


def test_a_missing_task_is_said_with_the_remedy(results: Path, tmp_path: Path) -> None:
    made(results, "dapo", "sums", 0)
    with pytest.raises(ConfigError, match=r"dapo has no run on digits-tiny; .*--common"):
        export(results, "rliable", tmp_path / "out")
    found = export(results, "rliable", tmp_path / "out", common=True)
    assert sorted(numpy.load(tmp_path / "out" / "scores.npz")) == ["grpo", "gspo2"] and "left out: dapo" in found.notes[0]
    export(results, "rliable", tmp_path / "one", tables=["sums-tiny"])
    assert sorted(numpy.load(tmp_path / "one" / "scores.npz")) == ["dapo", "grpo", "gspo2"]


def test_a_diverged_run_counts_with_nothing_from_there_on(results: Path, tmp_path: Path) -> None:
    made(results, "dapo", "sums", 0, evaluations=2, diverges=True)
    export(results, "rliable", tmp_path / "out", tables=["sums-tiny"])
    curves = dict(numpy.load(tmp_path / "out" / "curves.npz"))
    assert curves["dapo"][0, 0].tolist() == pytest.approx([score("dapo", "sums", 0, 0), score("dapo", "sums", 0, 1), 0])


def test_runs_that_were_evaluated_more_or_less_often_have_no_curves(results: Path, tmp_path: Path) -> None:
    export(results, "rliable", tmp_path / "out")
    made(results, "dapo", "sums", 0, evaluations=5)
    made(results, "dapo", "digits", 0)
    found = export(results, "rliable", tmp_path / "out")
    assert [path.name for path in found.files] == ["scores.npz", "axes.json"] and not (tmp_path / "out" / "curves.npz").exists()
    assert "between 3 and 5 evaluations" in found.notes[-1]
    with pytest.raises(ConfigError, match=r"3 \(.*\) and 5 \(dapo on sums-tiny, seed 0\)"):
        export(results, "marl-eval", tmp_path / "x.json", common=True)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_have_a_row_for_each_record(results: Path, tmp_path: Path, kind: str) -> None:
    with store(results).open(spec(9, "dapo"), {}) as folder:
        _append(folder, 0, 0.5, items=False)
    out = tmp_path / f"all.{kind}"
    export(results, kind, out)
    table = pandas.read_csv(out) if kind == "csv" else pandas.read_parquet(out)
    assert len(table) == 10 * 3 + 1 and set(table["state"]) == {"finished", "stopped"}
    wanted = {"label": "grpo", "table": "sums-tiny", "seed": 2, "step": 1}
    (row,) = (row for row in table.to_dict("records") if wanted.items() <= row.items())
    assert row["eval_score"] == pytest.approx(score("grpo", "sums", 2, 1))
    assert row["entropy/token"] == 0.5 and math.isnan(row["train_score"])


def test_the_command_writes_and_refuses(results: Path, tmp_path: Path) -> None:
    call = ["export", str(tmp_path / "out"), "--to", "rliable", "--results", str(results)]
    done = CliRunner().invoke(app, [*call, "--algo", "grpo", "--json"])
    assert done.exit_code == 0 and len(json.loads(done.output)["files"]) == 3
    wrong = CliRunner().invoke(app, [*call, "--algo", "gropo"])
    assert isinstance(wrong.exception, ConfigError) and "Did you mean 'grpo'" in str(wrong.exception)
    empty = CliRunner().invoke(app, ["export", str(tmp_path / "out"), "--to", "csv", "--results", str(tmp_path / "none")])
    assert isinstance(empty.exception, ConfigError) and "no runs to export" in str(empty.exception)
