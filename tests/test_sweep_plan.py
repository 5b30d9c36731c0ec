"""What a sweep is to run, from what a user writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeping import QUICK, planned

from bench.errors import ConfigError
from bench.sweep import jobs as all_jobs
from bench.sweep import slots
from bench.sweep.cells import Cell, Skipped, cells
from bench.sweep.jobs import ranges
from bench.sweep.plan import plans


def found(**asked: object) -> list[Cell | Skipped]:
    return list(cells(plans(asked)))


def specs(**asked: object) -> list[Cell]:
    return [cell for cell in found(**asked) if isinstance(cell, Cell)]


def test_a_sweep_is_every_algorithm_on_every_task_with_every_seed() -> None:
    asked = {"algo": "gspo,grpo", "task": "gsm8k,countdown", "seeds": "0..2", "tier": "tiny"}
    assert [(c.label, c.spec.task.name, c.spec.seed) for c in specs(**asked)] == [
        (algo, task, seed) for task in ("gsm8k", "countdown") for algo in ("gspo", "grpo") for seed in range(3)
    ]
    assert len({c.spec.run_id for c in specs(**asked)}) == 12


def test_cells_come_one_after_the_other() -> None:
    """The second algorithm is not looked at before the first one's cells were taken."""
    lazy = cells(plans({"algo": "grpo,a2c", "task": "gsm8k", "tier": "tiny", "seeds": "0", "set": ("algo.clip=0.3",)}))
    first = next(lazy)
    assert isinstance(first, Cell) and first.spec.algorithm.settings["clip"] == 0.3
    with pytest.raises(ConfigError, match="a2c on gsm8k: no setting of algo called 'clip'"):
        next(lazy)


def test_a_setting_goes_to_the_one_it_is_named_for_and_wins_over_what_is_for_all() -> None:
    asked = ("grpo:train.lr=1e-5", "countdown:train.prompts=8", "train.lr=1e-4", "train.prompts=4")
    made = specs(algo="gspo,grpo", task="gsm8k,countdown", seeds="0", tier="tiny", set=asked)
    assert {(c.label, c.spec.task.name): (c.spec.train.lr, c.spec.train.prompts) for c in made} == {  # type: ignore[union-attr]
        ("gspo", "gsm8k"): (1e-4, 4),
        ("grpo", "gsm8k"): (1e-5, 4),
        ("gspo", "countdown"): (1e-4, 8),
        ("grpo", "countdown"): (1e-5, 8),
    }


def test_a_pair_that_cannot_go_together_is_skipped_once_with_its_reason() -> None:
    made = found(algo="grpo,dqn", task="gsm8k,cartpole", seeds="0..4", tier="tiny")
    (skipped,) = [each for each in made if isinstance(each, Skipped)]
    assert (skipped.label, skipped.task) == ("dqn", "gsm8k") and "learns from single transitions" in skipped.reason
    assert len(made) == 16


BAD = [
    ({"algo": "gsop", "task": "gsm8k"}, "no algorithm called 'gsop'. Did you mean 'gspo'"),
    ({"algo": "gspo", "task": "gms8k"}, "no task called 'gms8k'. Did you mean 'gsm8k'"),
    ({"algo": "gspo", "task": "gsm8k,cartpole", "tier": "tinny"}, "no tier called 'tinny'"),
    ({"algo": "gspo", "task": "gsm8k,cartpole", "sampler": "hff"}, "no sampler called 'hff'"),
    ({"algo": "gspo", "task": "gsm8k", "reward": "verifire"}, "no source of rewards called 'verifire'"),
    ({"algo": "grpo,dqn", "task": "gsm8k"}, "nothing of dqn can be run: dqn learns from single transitions"),
    ({"algo": "dqn", "task": "gsm8k,cartpole"}, "nothing of gsm8k can be run: dqn learns from single transitions"),
    ({"algo": "gspo", "task": "gsm8k", "tier": "full"}, "nothing of gspo can be run: the full tier needs --model"),
    ({"algo": "gspo", "task": "gsm8k", "budget": 5}, "gspo on gsm8k: the budget is 5 samples, less than one rollout batch"),
    ({"algo": "gspo"}, "nothing to run: give task"),
    ({"algo": "gspo", "task": "gsm8k", "seeds": "0..x"}, "--seeds takes seeds such as 0..9"),
    ({"algo": "a2c,grpo", "task": "gsm8k", "set": ("algo.clip=0.3",)}, "To set it for grpo alone: --set grpo:algo.clip=0.3"),
    ({"algo": "ppo", "task": "gsm8k,cartpole", "set": ("train.hidden=8",)}, "To set it for cartpole alone: --set cartpole:train.hidden=8"),
    ({"algo": "ppo", "task": "gsm8k", "set": ("gspo:algo.clip=0.3",)}, "no algorithm or task of this sweep called 'gspo'"),
]


@pytest.mark.parametrize(("asked", "says"), BAD, ids=[says[:40] for _, says in BAD])
def test_bad_input_is_one_sentence(asked: dict[str, object], says: str) -> None:
    asked = asked if "tier" in asked or asked.get("algo") == "dqn" else asked | {"tier": "tiny"}
    with pytest.raises(ConfigError) as error:
        found(**asked)
    assert says in str(error.value)


FILE = """
algo = ["gspo", "grpo"]
task = "gsm8k"
tier = "tiny"
seeds = "0..2"
set.train = {lr = 1e-4, shared_trunk = false}

[[variant]]
algo = "grpo"
name = "wide"
set = ["algo.clip=0.4"]

[[variant]]
algo = "ppo"
task = "countdown"
seeds = [7]
"""


def test_a_file_has_the_same_keys_and_variants_on_top_of_it(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(FILE)
    base, wide, ppo = plans({"budget": 4096, "seeds": None, "set": ("train.prompts=8",)}, path)
    assert (base.algo, base.task, base.seeds, base.budget) == (("gspo", "grpo"), ("gsm8k",), (0, 1, 2), 4096)
    assert base.set == ("train.lr=0.0001", "train.shared_trunk=false", "train.prompts=8")
    assert (wide.algo, wide.name, wide.set[2:]) == (("grpo",), "wide", ("algo.clip=0.4", "train.prompts=8"))
    assert (ppo.task, ppo.seeds, ppo.name) == (("countdown",), (7,), "variant 2")
    labels = [c.label for c in cells([base, wide]) if isinstance(c, Cell)]
    assert labels == ["gspo"] * 3 + ["grpo"] * 3 + ["grpo wide"] * 3
    (one,) = plans({"seeds": "5"}, path)[2:]
    assert one.seeds == (5,)  # the command line wins


BAD_FILES = [
    ("algo = 'gspo'\ntask = 'gsm8k'\nseed = 3", "no key in .* called 'seed'. Did you mean 'seeds'"),
    ("algo = ", "is not TOML"),
    ("task = 'gsm8k'", "nothing to run: give algo"),
    ("algo = 'gspo'\ntask = 'gsm8k'\nbudget = '5'", "budget is '5'; it takes a number"),
    ("algo = 'gspo'\ntask = 'gsm8k'\nset = 'x'", "set is 'x'; it takes a list"),
    ("algo = 'gspo'\ntask = 5", "task is 5; it takes names"),
    ("algo = 'gspo'\ntask = 'gsm8k'\ntier = 1", "tier is 1; it takes a name"),
    ("algo = 'gspo'\ntask = 'gsm8k'\nvariant = 'x'", "variants are tables"),
]


@pytest.mark.parametrize(("text", "says"), BAD_FILES, ids=[says[:30] for _, says in BAD_FILES])
def test_a_bad_file_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        plans({}, path)


def test_names_in_a_file_and_on_the_command_line_would_be_two_answers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--algo and --file are both given"):
        plans({"algo": "gspo"}, tmp_path / "sweep.toml")


def test_jobs_are_single_runs_of_text_by_seed_and_seeds_of_gymnasium_together() -> None:
    made = planned(algo="grpo,ppo", task="last_digit,cartpole", seeds="0,3", set=tuple(f"last_digit:{each}" for each in QUICK), budget=None)
    assert [(job.label, job.specs[0].task.name, [spec.seed for spec in job.specs]) for job in made] == [
        ("grpo", "cartpole", [0, 3]),
        ("ppo", "cartpole", [0, 3]),
        ("grpo", "last_digit", [0]),
        ("ppo", "last_digit", [0]),
        ("grpo", "last_digit", [3]),
        ("ppo", "last_digit", [3]),
    ]
    assert made[0].title == "grpo on cartpole, seeds 0,3" and made[2].title == "grpo on last_digit-tiny, seed 0"


def test_a_run_that_two_variants_name_is_one_run() -> None:
    (plan,) = plans({"algo": "grpo", "task": "gsm8k", "tier": "tiny", "seeds": "0"})
    twice = [each for each in cells([plan, plan]) if isinstance(each, Cell)]
    assert len(twice) == 2 and len(all_jobs.jobs(twice)) == 1


def test_jobs_travel_as_lines_and_stay_the_same_runs(tmp_path: Path) -> None:
    made = planned(algo="grpo,ppo", task="last_digit,cartpole", set=(), budget=None)
    all_jobs.write(tmp_path / "jobs", made)
    held = all_jobs.read(tmp_path / "jobs")
    assert [[spec.run_id for spec in job.specs] for job in held] == [[spec.run_id for spec in job.specs] for job in made]
    (tmp_path / "jobs").write_text("algo = 'gspo'\n")
    with pytest.raises(ConfigError, match="holds no jobs"):
        all_jobs.read(tmp_path / "jobs")


def test_ranges() -> None:
    assert ranges([0, 1, 2, 3]) == "0..3" and ranges([7, 0, 1, 4]) == "0..1,4,7" and ranges([2]) == "2"


def test_slots_follow_the_machine_and_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    small = planned(seeds="0..9")
    large = [replace(job, specs=tuple(replace(spec, tier="full") for spec in job.specs)) for job in small]
    monkeypatch.setattr(slots, "usable_cores", lambda: 8)
    monkeypatch.setattr(slots, "gpus", lambda: ["3", "5"])
    assert slots.slots(small, 0) == [slots.Slot(False)] * 8 and len(slots.slots(small, 3)) == 3 and len(slots.slots(small[:2], 0)) == 2
    assert [(slot.gpu, slot.threads) for slot in slots.slots(large, 0)] == [("3", 4), ("5", 4)]
    assert [slot.gpu for slot in slots.slots(large, 3)] == ["3", "5", "3"]
    assert [slot.full for slot in slots.slots(small + large, 0)] == [True] * 2 + [False] * 6
    assert slots.Slot(True, "5", 4).environment()["CUDA_VISIBLE_DEVICES"] == "5"
    assert slots.Slot(False).environment() | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"} == slots.Slot(False).environment()
    monkeypatch.setattr(slots, "gpus", list)
    assert [(slot.gpu, slot.threads) for slot in slots.slots(large, 0)] == [(None, 8)]
    with pytest.raises(ConfigError, match="--workers is -1"):
        slots.slots(small, -1)
