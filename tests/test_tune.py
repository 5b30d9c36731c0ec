"""Choosing settings: what is tried, what is chosen of it, and what a recipe says afterwards."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from sweeping import QUICK
from typer.testing import CliRunner

from bench import recipes
from bench.cli import app
from bench.errors import ConfigError
from bench.recipes import read_provenance, recipe
from bench.store import RunStore
from bench.sweep.cells import Cell
from bench.sweep.events import Event
from bench.sweep.jobs import jobs
from bench.sweep.plan import Plan, plans
from bench.sweep.tally import Tally
from bench.tune.choice import best, gather, rivals, verdict
from bench.tune.grid import Grid, tuning
from bench.tune.recipe import Origin, write
from bench.tune.toml import put, written

GRID = Grid.read(["train.lr=1e-4,3e-4,1e-3"])


def plan(**other: object) -> Plan:
    (found,) = plans({"algo": "gspo,grpo", "task": "last_digit", "seeds": "100..101", "tier": "tiny"} | other)
    return found


def scored(points: dict[tuple[str, ...], list[Cell]], root: Path, scores: dict[tuple[str, str, int], float | None]) -> Tally:
    """Runs that ended with these scores, by algorithm, the grid's value and seed; None: diverged. Those without a score have not ended."""
    tally = Tally(jobs(cell for cells in points.values() for cell in cells), RunStore(root))
    for point, cells in points.items():
        for cell in cells:
            key = (cell.spec.algorithm.name, point[0].partition("=")[2], cell.spec.seed)
            if key in scores:
                value = scores[key]
                tally.hear(Event("finished" if value is not None else "diverged", cell.spec.run_id, 100, value, 1.0))
    return tally


def all_of(value: float, **other: float | None) -> dict[tuple[str, str, int], float | None]:
    """The same score for all, but for grpo with these."""
    rates = {"low": "1e-4", "mid": "3e-4", "high": "1e-3"}
    found: dict[tuple[str, str, int], float | None] = {
        (name, rate, seed): value for name in ("gspo", "grpo") for rate in rates.values() for seed in (100, 101)
    }
    return found | {("grpo", rates[name[:-1]], 100 + int(name[-1])): given for name, given in other.items()}


def test_the_grid_is_the_same_for_all_on_the_tuning_split() -> None:
    points = tuning(plan(), GRID)
    assert list(points) == [("train.lr=1e-4",), ("train.lr=3e-4",), ("train.lr=1e-3",)]
    for point, cells in points.items():
        assert [(cell.spec.algorithm.name, cell.spec.seed) for cell in cells] == [(a, s) for a in ("gspo", "grpo") for s in (100, 101)]
        assert {(cell.spec.train.eval_split, cell.spec.train.lr) for cell in cells} == {("tune", float(point[0].partition("=")[2]))}  # type: ignore[union-attr]
    two = Grid.read(["train.lr=1e-4,1e-3", "train.epochs=1,4"])
    assert two.points()[1] == ("train.lr=1e-4", "train.epochs=4") and len(two.points()) == 4


BAD = [
    ({"seeds": "0..2"}, ["train.lr=1e-4,1e-3"], "seed 0 is one of those that results are reported of"),
    ({}, [], "there is no grid"),
    ({}, ["train.lr=1e-4"], "two values or more"),
    ({}, ["task.digits=3,4"], "takes a setting of algo or train"),
    ({}, ["train.lr=1e-4,1e-3", "train.lr=1e-2,1e-1"], "names train.lr twice"),
    ({"algo": "gspo,a2c"}, ["algo.clip_low=0.1,0.2"], "a2c train.lr"),
    ({"task": "last_digit,cartpole", "algo": "ppo,dqn"}, ["train.lr=1e-4,1e-3"], "the grid is equal for all only if all can be run"),
]


@pytest.mark.parametrize(("asked", "grid", "says"), BAD, ids=[says[:30] for *_, says in BAD])
def test_a_grid_that_is_not_equal_or_not_apart_is_refused(asked: dict[str, str], grid: list[str], says: str) -> None:
    says = says.replace("a2c train.lr", "no setting of algo called 'clip_low'")
    with pytest.raises(ConfigError, match=re.escape(says)):
        tuning(plan(**asked), Grid.read(grid))


def test_the_best_mean_is_chosen_and_how_sure_that_is_is_said(tmp_path: Path) -> None:
    points = tuning(plan(), GRID)
    tally = scored(points, tmp_path, all_of(0.5, mid0=0.7, mid1=0.8, high0=0.75, high1=0.6))
    tried = gather(points, tally)
    chosen = best(tried["grpo"])
    assert chosen is not None and chosen.point == ("train.lr=3e-4",) and chosen.score == pytest.approx(0.75)
    assert [each.point for each in rivals(tried["grpo"], chosen)] == [("train.lr=1e-3",)]
    assert verdict(tried["grpo"], chosen, GRID) == "train.lr=3e-4. The seeds' range overlaps with that of train.lr=1e-3."
    equal = best(tried["gspo"])
    assert equal is not None and equal.point == ("train.lr=1e-4",)
    assert "train.lr=1e-4 is at the edge of the grid" in verdict(tried["gspo"], equal, GRID)


def test_what_diverges_is_not_chosen_and_what_has_not_ended_leaves_no_choice(tmp_path: Path) -> None:
    points = tuning(plan(), GRID)
    tried = gather(points, scored(points, tmp_path, all_of(0.5, high0=0.99, high1=None)))["grpo"]
    chosen = best(tried)
    assert chosen is not None and chosen.point == ("train.lr=1e-4",)
    none = gather(points, scored(points, tmp_path, all_of(0.5, **dict.fromkeys(("low0", "mid0", "high0")))))["grpo"]
    assert best(none) is None and verdict(none, None, GRID) == "no point of the grid is without divergence"
    scores = all_of(0.5)
    del scores["grpo", "1e-3", 101]
    early = gather(points, scored(points, tmp_path, scores))["grpo"]
    assert best(early) is None and "not every run has ended" in verdict(early, None, GRID)


RECIPE = """# Why these.
[run]
budget = 2048

[train]
lr = 1e-3  # of all

# The range of GSPO.
[algorithms.gspo]
clip_low = 0.1
clip_high = 0.1

# Of the base model.
[pretrain]
steps = 1000
"""


def test_a_recipe_gets_the_values_and_keeps_the_rest_letter_by_letter(tmp_path: Path) -> None:
    path = tmp_path / "last_digit-tiny.toml"
    path.write_text(RECIPE)
    points = tuning(plan(), GRID)
    tried = gather(points, scored(points, tmp_path / "r", all_of(0.5, mid0=0.7, mid1=0.8)))
    said = write(tried, Origin(plan(), GRID), tmp_path)
    assert said == [f"{path}: gspo, grpo", f"{tmp_path / 'provenance' / 'last_digit-tiny.json'}: every run's score"]
    now = path.read_text()
    assert [line for line in now.splitlines() if line not in RECIPE.splitlines() and not line.startswith("# tuned: ")] == [
        "[algorithms.gspo.train]",
        "lr = 0.0001",
        "[algorithms.grpo.train]",
        "lr = 0.0003",
    ]
    assert [line for line in now.splitlines() if line in RECIPE.splitlines() and line] == [line for line in RECIPE.splitlines() if line]
    why = r"# tuned: best of 1e-4, 3e-4, 1e-3, on the tuning split of last_digit, seeds 100..101, 2048 samples \(20..-..-..; provenance/"
    assert len(re.findall(why, now)) == 2
    assert recipe("last_digit", "tiny", "grpo", folder=tmp_path).train["lr"] == 3e-4
    assert recipe("last_digit", "tiny", "ppo", folder=tmp_path).train["lr"] == 1e-3
    held = read_provenance(tmp_path / "provenance" / "last_digit-tiny.json")
    assert set(held) == {"gspo", "grpo"} and held["grpo"]["chosen"] == ["train.lr=3e-4"] and "torch" in held["grpo"]["made_on"]["packages"]
    assert [(run["point"], run["seed"], run["score"]) for run in held["grpo"]["runs"]][2:4] == [
        (["train.lr=3e-4"], 100, 0.7),
        (["train.lr=3e-4"], 101, 0.8),
    ]
    write({"grpo": tried["grpo"]}, Origin(plan(algo="grpo"), GRID), tmp_path)
    assert path.read_text() == now  # once more is no more


def test_several_tasks_go_to_the_tier_and_what_wins_over_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text("[train]\nlr = 3e-4\n")
    (tmp_path / "last_digit-tiny.toml").write_text(RECIPE)
    asked = plan(task="last_digit,chain_sum", algo="grpo")
    points = tuning(asked, GRID)
    tried = gather(points, scored(points, tmp_path / "r", all_of(0.5, mid0=0.7)))
    said = write(tried, Origin(asked, GRID), tmp_path)
    assert tomllib.loads((tmp_path / "tiny.toml").read_text())["algorithms"]["grpo"]["train"] == {"lr": 3e-4}
    assert said[2:] == [f"{tmp_path / 'last_digit-tiny.toml'} still has lr = 0.001 for grpo, and wins"]


def test_a_line_is_exchanged_with_its_reason() -> None:
    once = put("[algorithms.a.train]\nlr = 1  # old\nother = 2\n", ("algorithms", "a", "train"), "lr", 0.5, "first")
    assert once == "[algorithms.a.train]\n# tuned: first\nlr = 0.5\nother = 2\n"
    assert put(once, ("algorithms", "a", "train"), "lr", 2.0, "second") == "[algorithms.a.train]\n# tuned: second\nlr = 2.0\nother = 2\n"
    assert put("", ("algorithms", "a"), "clip", True, "x") == "[algorithms.a]\n# tuned: x\nclip = true\n"
    with pytest.raises(ConfigError, match=r"set lr = 0.5 under \[algorithms.a.train\] by hand"):
        put("[algorithms.a]\ntrain = {lr = 1}\n", ("algorithms", "a", "train"), "lr", 0.5, "x")
    with pytest.raises(ConfigError, match="by hand"):
        put("[algorithms.a]\nlayers = [\n 1,\n 2]\n", ("algorithms", "a"), "layers", (3,), "x")
    for value in (1e-4, 3e-05, 1e30, 2.0, 0.1 + 0.2, 7, True, "v1", (64, 64)):
        held = tomllib.loads(f"x = {written(value)}")["x"]
        assert held == (list(value) if isinstance(value, tuple) else value) and type(held) is not tuple
        assert isinstance(held, float) == isinstance(value, float)


def test_the_command_runs_the_grid_apart_from_what_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    monkeypatch.setattr(recipes, "FOLDER", folder)
    asked = ["--algo", "grpo", "--task", "last_digit", "--tier", "tiny", "--grid", "train.lr=1e-3,1e30", "--seeds", "100", "--budget", "32"]
    asked += [part for setting in QUICK for part in ("--set", setting)]
    result = CliRunner().invoke(app, ["tune", *asked, "--write", "--workers", "1", "--results", str(tmp_path / "r")])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "1 of 1 diverged" in result.output and "grpo: train.lr=1e-3" in result.output
    assert len(RunStore(tmp_path / "r" / "tuning").runs()) == 2 and RunStore(tmp_path / "r").runs() == []
    assert json.loads((folder / "provenance" / "last_digit-tiny.json").read_text())["grpo"]["chosen"] == ["train.lr=1e-3"]
