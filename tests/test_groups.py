"""Which runs are one competitor, and which competitors share a board."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bench.board.groups import boards, protocol
from bench.trials import Trial


def spec(seed: int = 0, **more: Any) -> dict[str, Any]:
    """A specification in JSON; `more` replaces its parts, or single settings of training."""
    train = {"lr": 3e-4, "eval_split": "heldout", "eval_problems": 256, "eval_completions": 8, "eval_points": 10, "limit": 0}
    held: dict[str, Any] = {"task": {"name": "sums", "settings": {"terms": 3}}, "tier": "tiny", "model": {"name": "base", "settings": {}}}
    held |= {"algorithm": {"name": "grpo", "settings": {"kl": 0.0}}, "sampler": {"name": "hf", "settings": {}}, "budget": 100, "seed": seed}
    return held | {"train": train | {k: v for k, v in more.items() if k in train}} | {k: v for k, v in more.items() if k not in train}


def trial(seed: int = 0, state: str = "finished", run_id: str = "", **more: Any) -> Trial:
    made = spec(seed, **more)
    name = made["algorithm"]["name"]
    failure = "diverged" if state == "diverged" else "error" if state == "failed" else None
    known: Any = "failed" if failure else state
    return Trial("sums-tiny", name, run_id or f"{hash(repr(made))}", seed, known, Path("x"), made, failure=failure)


def test_seeds_of_one_specification_are_one_entry() -> None:
    (board,) = boards([trial(2), trial(0), trial(1), trial(0, algorithm={"name": "ppo", "settings": {}})])
    assert (board.name, board.unit, board.scaled) == ("sums-tiny", "samples", True)
    assert [(entry.label, entry.seeds) for entry in board.entries] == [("grpo", (0, 1, 2)), ("ppo", (0,))]
    assert board.entries[0].key != board.entries[1].key and len(board.entries[0].key) == 12


def test_variants_of_one_algorithm_are_told_apart_by_what_differs() -> None:
    (board,) = boards([trial(), trial(lr=1e-3), trial(1, lr=1e-3), trial(algorithm={"name": "ppo", "settings": {}})])
    assert [(entry.label, entry.seeds) for entry in board.entries] == [("grpo lr=0.0003", (0,)), ("grpo lr=0.001", (0, 1)), ("ppo", (0,))]
    assert board.entry("ppo") is board.entries[2] and board.entry("grpo lr=0.001") is board.entries[1]
    assert board.entry("grpo") is None and board.entry("gspo") is None


def test_other_budgets_and_evaluations_are_other_boards() -> None:
    found = boards([trial(), trial(budget=200), trial(eval_split="tune"), trial(lr=1e-2)])
    assert {board.name for board in found} == {
        "sums-tiny (budget 100, eval_split heldout)",
        "sums-tiny (budget 200, eval_split heldout)",
        "sums-tiny (budget 100, eval_split tune)",
    }
    assert sum(len(board.entries) for board in found) == 4
    for change in (
        {"model": {"name": "other", "settings": {}}},
        {"task": {"name": "sums", "settings": {"terms": 4}}},
        {"eval_problems": 8},
    ):
        assert protocol(spec()) != protocol(spec(**change)), change
    for change in ({"lr": 1e-2}, {"algorithm": {"name": "ppo", "settings": {}}}, {"reward": {"name": "model", "settings": {}}}):
        assert protocol(spec()) == protocol(spec(7, **change)), change


def test_what_did_not_end_is_left_out_and_divergence_is_an_end() -> None:
    states = ["finished", "diverged", "failed", "stopped", "running"]
    (board,) = boards([trial(seed, state) for seed, state in enumerate(states)])
    (entry,) = board.entries
    assert entry.seeds == (0, 1) and entry.diverged == 1
    assert [t.seed for t in entry.left_out] == [2, 3, 4]


def test_the_same_run_met_twice_counts_once() -> None:
    (board,) = boards([trial(0, run_id="a"), trial(1, run_id="b"), trial(0, run_id="a")])
    assert board.entries[0].seeds == (0, 1)


def test_broken_folders_are_said_on_every_board_of_their_table_even_alone() -> None:
    broken = Trial("sums-tiny", "grpo", "x", -1, "broken", Path("x"), fault="torn")
    assert [board.broken for board in boards([trial(), broken, trial(budget=7)])] == [(broken,), (broken,)]
    (alone,) = boards([broken])
    assert alone.entries == () and alone.broken == (broken,) and not alone.scaled


def test_a_control_board_is_scaled_where_scores_are_no_returns() -> None:
    import numpy

    def episode(score: float, total: float, **more: Any) -> Trial:
        made = trial(tier="control", **more)
        return Trial(**{**vars(made), "curve": {"eval_score": numpy.array([score]), "eval/return": numpy.array([total])}})

    (known,) = boards([episode(0.5, 261.0)])
    (unknown,) = boards([episode(-80.0, -80.0)])
    assert known.scaled and not unknown.scaled and known.unit == "environment steps"
    (logged,) = boards([episode(0.5, 261.0, sampler={"name": "log", "settings": {"sha256": "a"}})])
    assert logged.unit == "gradient steps"


@given(st.permutations([trial(seed, lr=lr) for seed in range(3) for lr in (1e-3, 1e-4)]))
def test_the_order_of_runs_changes_nothing(shuffled: list[Trial]) -> None:
    (board,) = boards(shuffled)
    assert [(entry.label, entry.seeds) for entry in board.entries] == [("grpo lr=0.0001", (0, 1, 2)), ("grpo lr=0.001", (0, 1, 2))]
