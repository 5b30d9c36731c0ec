"""Runs of several seeds together give each seed what it would give alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from control_runs import RUNS, assert_same, parameters, specs, store, trained, unseen

from algorithms.value import Space
from bench.control.actor import parts
from bench.control.stack import Build, Stack
from bench.record import Record
from bench.run import execute_seeds

SEEDS = (3, 0, 11)


@pytest.mark.parametrize("name", RUNS)
def test_three_seeds_together_are_each_seed_alone(name: str, tmp_path: Path) -> None:
    wanted = specs(name, SEEDS)
    together = trained(wanted, tmp_path / "together")
    for spec, result in zip(wanted, together, strict=True):
        (alone,) = trained([spec], tmp_path / "alone")
        assert_same(result, alone)
        assert result.records[-1].updates > 1
    first, second, _ = (parameters(result.folder) for result in together)
    assert any(not torch.equal(value, second[key]) for key, value in first.items())


def test_the_cases_hold_what_they_are_there_for(tmp_path: Path) -> None:
    """Seeds could agree because nothing special happened to any of them: here it did."""
    found = trained(specs("dapo, several rounds", SEEDS), tmp_path)
    rounds = [[(r.probes["sampling/rounds"], r.probes["sampling/kept_frac"]) for r in result.records[1:]] for result in found]
    assert len({tuple(one) for one in rounds}) > 1 and max(rounds[0])[0] > 1
    stopped = [sum(r.probes["update/stopped"] for r in x.records[1:]) for x in trained(specs("ppo, some stopped early", SEEDS), tmp_path)]
    assert len(set(stopped)) > 1
    ends = {result.records[-1].samples for result in trained(specs("grpo", SEEDS), tmp_path)}
    assert len(ends) > 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("grpo", ("train.lr_end=0", "train.lr=0.03")),
        ("grpo", ("train.clip_end=0", "train.lr=0.03")),
        ("dqn", ("task.autoreset=next_step", "algo.epsilon_share=1")),
        ("ppo", ("task.autoreset=next_step", "train.lr_end=0")),
        ("ppo", ("task.autoreset=same_step", "train.lr_end=0", "train.clip_end=0")),
    ],
)
def test_schedules_follow_each_seeds_own_samples(name: str, settings: tuple[str, ...], tmp_path: Path) -> None:
    """Also where seeds count theirs at different speeds."""
    wanted = specs(name, SEEDS, settings)
    for spec, result in zip(wanted, trained(wanted, tmp_path / "together"), strict=True):
        assert_same(result, trained([spec], tmp_path / "alone")[0])


def test_a_batch_without_an_action_is_skipped(tmp_path: Path) -> None:
    """Episodes on the frozen lake hardly ever differ in their returns. A seed none of whose do stays where it started."""
    results = trained(specs("dapo, several rounds", SEEDS, ("algo.max_rounds=2",), budget=250), tmp_path)
    skipped = [[r.probes.get("update/skipped", 0.0) for r in result.records[1:]] for result in results]
    assert any(map(all, skipped)) and not all(map(all, skipped))
    for spec, result, each in zip(specs("dapo, several rounds", SEEDS), results, skipped, strict=True):
        start = Stack(parts(Space(16, 4, True), False), Build((8, 8), "tanh", "orthogonal"), [spec.seed]).tensors(0)
        moved = any(not torch.equal(value, start[key]) for key, value in parameters(result.folder).items())
        assert moved is not all(each)


def test_every_seed_has_a_folder_of_its_own(tmp_path: Path) -> None:
    wanted, seen = specs("dqn", SEEDS), dict[int, list[Record]]()
    results = execute_seeds(wanted, store(tmp_path), lambda spec, record: seen.setdefault(spec.seed, []).append(record))
    assert sorted(tmp_path.glob("*/*/*")) == sorted(result.folder for result in results)
    for spec, result in zip(wanted, results, strict=True):
        assert result.folder == tmp_path / "cartpole" / "dqn" / spec.run_id
        held = json.loads((result.folder / "spec.json").read_text())
        assert held["spec"] == json.loads(json.dumps(asdict(spec))) and held["provenance"]["seeds_together"] == list(SEEDS)
        assert result.records == seen[spec.seed] and result.warnings == []
        assert [r.step for r in result.records] == list(range(len(result.records)))
        assert (result.records[0].samples, result.records[-1].samples) == (0, 120)
        done = json.loads((result.folder / "done.json").read_text())["summary"]
        assert done["score"] == result.records[-1].eval_score is not None
        assert len((result.folder / "curve.jsonl").read_text().splitlines()) == len(result.records)
    assert len({seen[seed][-1].probes["q/mean"] for seed in SEEDS}) == 3


def test_finished_seeds_are_shown_and_not_trained_again(tmp_path: Path) -> None:
    (first,) = trained(specs("ppo", [0]), tmp_path)
    before = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    seen: dict[int, list[Record]] = {}
    wanted = specs("ppo", SEEDS)
    results = execute_seeds(wanted, store(tmp_path), lambda spec, record: seen.setdefault(spec.seed, []).append(record))
    assert {path: path.read_bytes() for path in before} == before
    assert seen[0] == first.records == results[1].records
    assert json.loads((results[0].folder / "spec.json").read_text())["provenance"]["seeds_together"] == [3, 11]
    assert execute_seeds(wanted, store(tmp_path), unseen)[2].records == results[2].records


def test_a_seeds_time_is_its_share(tmp_path: Path) -> None:
    together = trained(specs("dqn", range(4)), tmp_path)
    seconds = [result.records[-1].seconds for result in together]
    assert 0 < sum(seconds) <= together[0].seconds
    assert max(seconds) == pytest.approx(min(seconds), rel=1e-6)
