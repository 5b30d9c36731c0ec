"""Logs that TRL, verl, CleanRL and Stable-Baselines3 wrote, read into run folders, against the numbers that stand in them."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest

from bench import trials
from bench.board.groups import boards
from bench.errors import ConfigError, StoreError
from bench.exchange.importing import Brought, bring
from bench.exchange.wanted import Wanted
from bench.run_folder import read_items, read_records
from bench.store import RunStore
from tasks.cartpole import CartPole

LOGS = Path(__file__).parent / "logs"


def brought(root: Path, source: Path, library: str, task: str = "gsm8k", algorithm: str = "grpo", **more: Any) -> list[Brought]:
    wanted = Wanted(library=library, task=task, algorithm=algorithm, **more)
    return bring([source], wanted, RunStore(root, reserve=0))


def test_trl_is_read_as_it_was_logged(tmp_path: Path) -> None:
    first, second = brought(tmp_path, LOGS / "trl", "trl")
    assert (first.spec.seed, second.spec.seed, first.folder.parts[-3:-1]) == (0, 1, ("gsm8k-trl", "grpo"))
    history = json.loads((LOGS / "trl" / "seed_0" / "trainer_state.json").read_text())["log_history"]
    logged = {entry["step"]: entry for entry in history if "entropy" in entry}
    judged = {entry["step"]: entry["eval_reward"] for entry in history if "eval_reward" in entry}
    records = {record.step: record for record in read_records(first.folder)}
    assert sorted(records) == list(range(1, 13)) and sorted(judged) == [4, 8, 12]
    assert {step: record.eval_score for step, record in records.items() if record.eval_score is not None} == judged
    for step, entry in logged.items():
        probes = records[step].probes
        assert (probes["entropy/token"], probes["kl_ref/k3"], probes["grad/norm"]) == (entry["entropy"], entry["kl"], entry["grad_norm"])
        assert records[step].train_score == entry.get("reward") and probes.get("len/mean") == entry.get("completions/mean_length")
        assert probes["trl/clip_ratio/region_mean"] == entry["clip_ratio/region_mean"], "another denominator than ours: not ours"
    assert "clip/high" not in records[2].probes and records[2].updates == 2
    assert records[12].tokens is None, "num_tokens counts prompts as well, and nothing tells how many completions a step has"
    assert "trl/num_tokens" in records[11].probes


def test_trl_counts_completions_and_tokens_once_it_knows_how_many_a_step_has(tmp_path: Path) -> None:
    one, _ = brought(tmp_path, LOGS / "trl", "trl", completions=16)
    assert (one.spec.unit, one.spec.budget) == ("samples", 192)
    last = read_records(one.folder)[-1]
    history = json.loads((LOGS / "trl" / "seed_0" / "trainer_state.json").read_text())["log_history"]
    batches = [entry["completions/mean_length"] for entry in history if "completions/mean_length" in entry]
    assert len(batches) == 6, "one batch of 32 for two steps"
    assert (last.samples, last.tokens) == (192, round(sum(32 * length for length in batches)))


def test_trl_checkpoints_of_a_run_are_one_run_of_which_the_newest_is_read(tmp_path: Path) -> None:
    state = json.loads((LOGS / "trl" / "seed_0" / "trainer_state.json").read_text())
    for step in (4, 8, 10):
        folder = tmp_path / "out" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        held = state | {"log_history": [entry for entry in state["log_history"] if entry["step"] <= step]}
        (folder / "trainer_state.json").write_text(json.dumps(held))
    (one,) = brought(tmp_path / "results", tmp_path / "out", "trl", seed=7)
    assert (read_records(one.folder)[-1].step, one.spec.seed, one.spec.budget) == (10, 7, 12)


def test_verl_is_read_from_its_file_and_from_its_console(tmp_path: Path) -> None:
    (written,) = brought(tmp_path, LOGS / "verl" / "seed_0.jsonl", "verl")
    (printed,) = brought(tmp_path, LOGS / "verl" / "seed_1.log", "verl")
    entries = {e["step"]: e["data"] for e in map(json.loads, (LOGS / "verl" / "seed_0.jsonl").read_text().splitlines())}
    records = {record.step: record for record in read_records(written.folder)}
    assert sorted(records) == sorted(entries) == list(range(9))
    for step in range(1, 9):
        probes, entry = records[step].probes, entries[step]
        assert (probes["entropy/token"], probes["kl_old/k1"]) == (entry["actor/entropy"], entry["actor/ppo_kl"])
        assert probes["verl/actor/pg_clipfrac"] == entry["actor/pg_clipfrac"]
        assert records[step].samples == 16 * step, "from the tokens of a batch and the mean lengths"
        assert records[step].train_score == entry["critic/score/mean"]
    assert records[8].tokens == round(sum(16 * entries[step]["response_length/mean"] for step in range(1, 9)))
    assert [records[step].eval_score for step in (0, 4, 8)] == [entries[step]["val-core/toy/sums/reward/mean@4"] for step in (0, 4, 8)]
    assert records[8].seconds == pytest.approx(8 * 0.8)
    seen = re.findall(r"step:(\d+) - .*?actor/entropy:([\d.]+)", (LOGS / "verl" / "seed_1.log").read_text())
    got = {r.step: r.probes["entropy/token"] for r in read_records(printed.folder) if "entropy/token" in r.probes}
    assert got == {int(step): float(value) for step, value in seen} and len(got) == 8
    assert {written.spec.seed, printed.spec.seed} == {0, 1} and printed.score is not None


def test_verl_is_found_behind_what_ray_puts_before_a_line(tmp_path: Path) -> None:
    lines = ["some warning", "\x1b[36m(TaskRunner pid=17)\x1b[0m step:1 - actor/entropy:np.float64(0.5) - actor/pg_loss:-1e-05", ""]
    (tmp_path / "seed_3.log").write_text("\n".join(lines))
    (one,) = brought(tmp_path / "results", tmp_path / "seed_3.log", "verl")
    assert read_records(one.folder)[0].probes == {"entropy/token": 0.5, "verl/actor/pg_loss": -1e-05}


def test_verl_with_two_data_sets_asks_which_one_is_the_score(tmp_path: Path) -> None:
    data = {"val-core/a/reward/mean@4": 0.5, "val-core/b/reward/mean@4": 0.25}
    (tmp_path / "seed_0.jsonl").write_text(json.dumps({"step": 1, "data": data}) + "\n")
    with pytest.raises(ConfigError, match=r"several evaluations .*val-core/b/reward/mean@4.*--score"):
        brought(tmp_path / "results", tmp_path, "verl")
    (one,) = brought(tmp_path / "results", tmp_path, "verl", score="val-core/b/reward/mean@4")
    assert one.score == 0.25


def test_sb3_is_read_from_its_three_files(tmp_path: Path) -> None:
    one, other = brought(tmp_path, LOGS / "sb3", "sb3", task="CartPole-v1", algorithm="ppo")
    assert (one.folder.parts[-3], one.spec.unit, one.spec.budget, other.spec.seed) == ("cartpole-sb3", "environment steps", 2048, 1)
    assert one.spec.train.lr == 3e-4  # type: ignore[union-attr]
    records = {record.step: record for record in read_records(one.folder)}
    with numpy.load(LOGS / "sb3" / "seed_0" / "evaluations.npz") as held:
        steps, returns = held["timesteps"].tolist(), held["results"]
    score = CartPole().score
    assert [step for step, record in records.items() if record.eval_score is not None] == steps
    assert [records[step].eval_score for step in steps] == pytest.approx([score(float(row.mean())) for row in returns])
    assert [records[step].probes["eval/return"] for step in steps] == returns.mean(1).tolist()
    items = dict(read_items(one.folder))
    assert items[2048].scores == pytest.approx([score(total) for total in returns[-1]])
    keys = {held.key for folder in (one.folder, other.folder) for _, held in read_items(folder)}
    assert len(keys) == 8, "episodes that began elsewhere are not the same items"
    lines = (LOGS / "sb3" / "seed_0" / "progress.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(lines) if row["train/entropy_loss"]]
    for row in rows:
        assert records[int(row["time/total_timesteps"])].probes["entropy/token"] == -float(row["train/entropy_loss"])
        assert "kl_old/k3" not in records[int(row["time/total_timesteps"])].probes
    monitor = [line.split(",") for line in (LOGS / "sb3" / "seed_0" / "monitor.csv").read_text().splitlines()[2:]]
    ends = numpy.cumsum([int(length) for _, length, _ in monitor]).tolist()
    assert [records[end].probes["ep/return"] for end in ends] == [float(total) for total, _, _ in monitor]


def test_cleanrl_keeps_training_returns_apart_from_evaluations(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    ppo = brought(tmp_path, LOGS / "cleanrl", "cleanrl", task="CartPole-v1", algorithm="x", seed=None)
    one = next(run for run in ppo if run.spec.seed == 1)
    assert sorted(run.spec.seed for run in ppo) == [1, 2, 3], "as their hyperparameters say"
    assert one.score is None and "no evaluation" in " ".join(one.notes) and "--score charts/episodic_return" in " ".join(one.notes)
    records = read_records(one.folder)
    returns = [record for record in records if "ep/return" in record.probes]
    assert len(returns) > 20 and all(record.train_score is not None and record.eval_score is None for record in returns)
    assert [record.step for record in records if "entropy/token" in record.probes] == [256, 512, 768, 1024]
    assert "cleanrl/losses/approx_kl" in records[-1].probes and "kl_old/k3" not in records[-1].probes
    settings = one.spec.algorithm.settings
    assert (settings["num_envs"], settings["learning_rate"], settings["anneal_lr"]) == (4, 2.5e-4, True)
    assert not {"seed", "total_timesteps", "track"} & set(settings)


def test_cleanrl_closing_evaluation_is_of_the_last_step(tmp_path: Path) -> None:
    """It is logged at the steps 0 to 9, which are the numbers of its episodes."""
    pytest.importorskip("tensorboard")
    (source,) = LOGS.glob("cleanrl/*dqn*")
    (one,) = brought(tmp_path, source, "cleanrl", task="CartPole-v1", algorithm="dqn")
    judged = [record for record in read_records(one.folder) if record.eval_score is not None]
    ((step, items),) = read_items(one.folder)
    assert [record.step for record in judged] == [step] and step > 1000 and len(items.scores) == 10
    assert judged[0].eval_score == pytest.approx(sum(items.scores) / 10) and one.spec.budget == 1200


def test_training_returns_can_be_the_score_and_that_is_said(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (source,) = LOGS.glob("cleanrl/*ppo__1__*")
    (one,) = brought(tmp_path, source, "cleanrl", task="CartPole-v1", algorithm="ppo", score="charts/episodic_return")
    assert one.score is not None and any("of training and not of an evaluation" in note for note in one.notes)
    with pytest.raises(ConfigError, match=r"no metric in .* called 'charts/episodic_retrun'. Did you mean 'charts/episodic_return'"):
        brought(tmp_path, source, "cleanrl", task="CartPole-v1", algorithm="ppo", score="charts/episodic_retrun")


def test_seeds_of_an_imported_algorithm_are_one_entry_of_a_board_of_their_own(tmp_path: Path) -> None:
    brought(tmp_path, LOGS / "sb3", "sb3", task="CartPole-v1", algorithm="ppo")
    brought(tmp_path, LOGS / "trl", "trl")
    bring(
        [LOGS / "verl" / "seed_0.jsonl", LOGS / "verl" / "seed_1.log"],
        Wanted(library="verl", task="gsm8k", algorithm="grpo"),
        RunStore(tmp_path),
    )
    found = {board.name: board for board in boards(trials.read(tmp_path))}
    assert {name: (board.unit, board.scaled) for name, board in found.items()} == {
        "cartpole-sb3": ("environment steps", True),
        "gsm8k-trl": ("optimizer steps", False),
        "gsm8k-verl": ("samples", False),
    }
    for board in found.values():
        (entry,) = board.entries
        assert entry.seeds == (0, 1) and entry.label in ("ppo", "grpo")
        assert all(trial.state == "finished" and numpy.isnan(trial.curve["cpu_seconds"]).all() for trial in entry.trials)


def test_two_libraries_share_a_board_where_that_is_asked_for(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"family": "lab", "budget": 128}
    brought(tmp_path, LOGS / "verl" / "seed_0.jsonl", "verl", algorithm="theirs", **shared)
    brought(tmp_path, LOGS / "trl", "trl", algorithm="mine", completions=16, **shared)
    (board,) = boards(trials.read(tmp_path))
    assert (board.name, [entry.label for entry in board.entries]) == ("gsm8k-lab", ["mine", "theirs"])
    assert board.entries[0].trials[0].provenance["imported"]["score"] == "eval_reward"
    for ours in ("tiny", "full", "control"):
        with pytest.raises(ConfigError, match="our own runs"):
            brought(tmp_path, LOGS / "trl", "trl", family=ours)


def test_the_same_log_twice_is_one_run(tmp_path: Path) -> None:
    first = brought(tmp_path, LOGS / "sb3", "sb3", task="CartPole-v1", algorithm="ppo")
    again = brought(tmp_path, LOGS / "sb3" / "seed_0", "sb3", task="CartPole-v1", algorithm="ppo", budget=4096)
    assert all(run.new for run in first) and not again[0].new and again[0].folder == first[0].folder
    assert len(trials.read(tmp_path)) == 2


def test_another_log_under_the_same_name_is_refused(tmp_path: Path) -> None:
    brought(tmp_path, LOGS / "trl" / "seed_0", "trl")
    with pytest.raises(StoreError, match=r"imported from another log .* --set lr=1e-5"):
        brought(tmp_path, LOGS / "trl" / "seed_1", "trl", seed=0)
    (one,) = brought(tmp_path, LOGS / "trl" / "seed_1", "trl", seed=0, settings={"lr": 1e-5})
    assert one.new and one.spec.algorithm.settings == {"lr": 1e-5}


def test_an_import_that_was_killed_is_made_again_in_full(tmp_path: Path) -> None:
    (one,) = brought(tmp_path, LOGS / "trl" / "seed_0", "trl")
    whole = (one.folder / "curve.jsonl").read_bytes()
    (one.folder / "done.json").unlink()
    (one.folder / "curve.jsonl").write_bytes(whole[: len(whole) // 2])
    (again,) = brought(tmp_path, LOGS / "trl" / "seed_0", "trl")
    assert again.new and (again.folder / "curve.jsonl").read_bytes() == whole
    (third,) = brought(tmp_path, LOGS / "trl" / "seed_0", "trl")
    assert not third.new


def test_seeds_that_nothing_tells_must_be_given(tmp_path: Path) -> None:
    shutil.copytree(LOGS / "trl" / "seed_0", tmp_path / "a")
    with pytest.raises(ConfigError, match=r"nothing in .* tells its seed; give --seed"):
        brought(tmp_path / "results", tmp_path / "a", "trl")
    shutil.copytree(LOGS / "trl" / "seed_1", tmp_path / "b")
    with pytest.raises(ConfigError, match="--seed 3 is given for 2 runs"):
        brought(tmp_path / "results", tmp_path, "trl", seed=3)
    (tmp_path / "a").rename(tmp_path / "x_seed_1")
    (tmp_path / "b").rename(tmp_path / "y-seed-1")
    with pytest.raises(ConfigError, match="both have seed 1"):
        brought(tmp_path / "results", tmp_path, "trl")
    assert not (tmp_path / "results").exists(), "nothing is written before everything is read"


def test_long_logs_become_even_stretches_with_means(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "data": {"actor/entropy": float(step)}}) for step in range(1, 1001)]
    (tmp_path / "seed_0.jsonl").write_text("\n".join(lines) + "\n")
    (one,) = brought(tmp_path / "results", tmp_path, "verl", limit=10)
    records = read_records(one.folder)
    assert [record.step for record in records] == list(range(100, 1001, 100))
    assert [record.probes["entropy/token"] for record in records] == [sum(range(end - 99, end + 1)) / 100 for end in range(100, 1001, 100)]
