"""Runs on Gymnasium and on logs that are killed and taken up again: the bytes of the run that never stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from control_runs import RUNS, assert_same, killed, left, specs, store, trained

import bench.control.run
from bench.control.build import build
from bench.control.value_learning import Log, Replay
from bench.errors import StoreError
from bench.run_folder import RunFolder

ENGINES = ("ppo", "grpo", "dqn, refined", "sac", "cql")
OTHERS = ("ppo, pendulum", "a2c", "dapo, several rounds", "sac, first version", "bc")
SEEDS = (3, 0, 11)
APPEND, SAVE, DROP, FINISH = (f"bench.run_folder:RunFolder:{name}" for name in ("append", "checkpoint", "keep_checkpoint", "finish"))
WRITE = "bench.checkpoint:write"  # of a checkpoint's state, then of its manifest, under a name that does not count


@pytest.mark.parametrize("name", RUNS)
def test_what_is_saved_is_all_that_training_needs(name: str) -> None:
    """Seeds that go on from what three others saved, as those do themselves: networks, optimizers, worlds and what is remembered."""
    wanted = specs(name, SEEDS)
    with closing(build(wanted)) as run, closing(build(wanted)) as other:
        mine, new = run.trainer, other.trainer
        for _ in range(8):
            mine.advance()
        new.restore([mine.state(row) for row in range(3)])
        for _ in range(3):
            mine.advance()
            new.advance()
        for row in range(3):
            (tensors, facts), (others, known) = mine.state(row), new.state(row)
            assert facts == known and mine.probes(row) == new.probes(row)
            assert tensors.keys() == others.keys()
            for group, held in tensors.items():
                assert held.keys() == others[group].keys()
                assert all(torch.equal(value, others[group][key]) for key, value in held.items()), group


def but(quick: Sequence[str]) -> list[Any]:
    """Every way of training, of which all but a few are slow."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in (*ENGINES, *OTHERS)]


class Turns:
    """Counts how often a value rule gathers and learns in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken = 0
        for kind in (Replay, Log):
            monkeypatch.setattr(kind, "advance", self._counted(kind.advance))

    def _counted(self, plain: Callable[[Any], None]) -> Callable[[Any], None]:
        def advance(trainer: Any) -> None:
            self.taken += 1
            plain(trainer)

        return advance


def checkpoints(root: Path, seeds: Sequence[int], name: str) -> list[list[int]]:
    """The steps saved, seed by seed."""
    found = [store(root).runs(seed=spec.seed)[0].folder for spec in specs(name, seeds)]
    return [sorted(int(path.name) for path in folder.glob("checkpoint/[0-9]*")) for folder in found]


@pytest.mark.parametrize("name", but(("dqn, refined",)))
def test_a_run_killed_at_any_point_ends_as_if_it_had_not_been(name: str, tmp_path: Path) -> None:
    wanted, broken = specs(name, [5]), tmp_path / "broken"
    (whole,) = trained(wanted, tmp_path / "whole")
    killed(wanted, broken, APPEND, 2)  # recorded, and in no checkpoint
    killed(wanted, broken, WRITE, 4, after=False)  # in the second checkpoint
    killed(wanted, broken, SAVE, 1)
    killed(wanted, broken, FINISH, 1, after=False)  # ended, and not marked as such
    (again,) = trained(wanted, broken)
    assert left(again.folder) == left(whole.folder)
    assert again.warnings == []


@pytest.mark.parametrize("name", but(("ppo",)))
def test_seeds_killed_together_end_as_if_they_had_not_been(name: str, tmp_path: Path) -> None:
    """Between the two phases of a checkpoint, too: some seeds have the new one, or some have lost the old one."""
    wanted, broken = specs(name, SEEDS), tmp_path / "broken"
    whole = trained(wanted, tmp_path / "whole")
    killed(wanted, broken, SAVE, 5)
    old, new = checkpoints(broken, SEEDS[:2], name)[0], checkpoints(broken, SEEDS[2:], name)[0]
    assert len(old) == 2 and new == old[:1]
    killed(wanted, broken, DROP, 7)  # of which three are for taking up
    found = checkpoints(broken, SEEDS, name)
    assert found[1] == found[2] and found[0] == found[1][1:] and found[0][0] > old[0]
    killed(wanted, broken, WRITE, 2, after=False)
    killed(wanted, broken, APPEND, 2)
    again = trained(wanted, broken)
    for mine, other in zip(again, whole, strict=True):
        assert left(mine.folder) == left(other.folder)
    assert [result.warnings for result in again] == [[], [], []]


def test_ended_seeds_need_only_their_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is marked, the others do not know that they have ended."""
    wanted, root = specs("cql", SEEDS), tmp_path / "broken"
    whole = trained(wanted, tmp_path / "whole")
    killed(wanted, root, FINISH, 2, after=False)
    assert [info.state for spec in wanted for info in store(root).runs(seed=spec.seed)] == ["finished", "stopped", "stopped"]
    turns = Turns(monkeypatch)
    again = trained(wanted, root)
    assert turns.taken == 0
    for mine, other in zip(again, whole, strict=True):
        assert left(mine.folder) == left(other.folder)


def test_seeds_killed_before_all_networks_are_kept_end_as_if_they_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one's are not; all go back to what they have in common, for fewer seeds would round otherwise."""
    wanted, root = specs("cql", SEEDS), tmp_path / "broken"
    whole = trained(wanted, tmp_path / "whole")
    killed(wanted, root, SAVE, 3 * 5 + 2)  # five points of all seeds, then what is kept
    assert checkpoints(root, SEEDS, "cql") == [[20, 24], [20, 24], [20]]
    turns = Turns(monkeypatch)
    again = trained(wanted, root)
    assert turns.taken == 4
    for mine, other in zip(again, whole, strict=True):
        assert left(mine.folder) == left(other.folder)


def test_seeds_killed_when_some_have_ended_end_as_if_they_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole episodes spend the budget at different speeds; networks are those of the moment at which it was spent."""
    wanted, saved, plain = specs("grpo", SEEDS, budget=900), list[bool](), RunFolder.checkpoint

    def watched(folder: RunFolder, step: int, tensors: Any, state: Any, **named: Any) -> None:
        saved.append("final" in tensors)
        plain(folder, step, tensors, state, **named)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "checkpoint", watched)
        patch.setattr(bench.control.run, "SAVE_SHARE", math.inf)
        whole = trained(wanted, tmp_path / "whole")
    some = next(k for k in range(0, len(saved), 3) if 0 < sum(saved[k : k + 3]) < 3)  # the first point at which one has ended
    killed(wanted, tmp_path / "broken", SAVE, some + 3)
    for mine, other in zip(trained(wanted, tmp_path / "broken"), whole, strict=True):
        assert left(mine.folder) == left(other.folder)
    for spec, together in zip(wanted, whole, strict=True):
        (alone,) = trained([spec], tmp_path / f"alone-{spec.seed}")
        assert_same(together, alone)


def test_a_seed_that_was_stopped_alone_loses_nothing_to_others_that_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is finished, one was stopped while alone, and one is new."""
    wanted, root = specs("dqn", SEEDS), tmp_path / "broken"
    whole = [trained([spec], tmp_path / "whole")[0] for spec in wanted]
    (first,) = trained(wanted[:1], root)
    before = left(first.folder)
    killed(wanted[1:2], root, SAVE, 3)  # at turn 15 of 30
    turns = Turns(monkeypatch)
    results = trained(wanted, root)
    assert turns.taken == 15 + 30
    assert left(results[0].folder) == before
    for mine, other in zip(results[1:], whole[1:], strict=True):
        assert left(mine.folder) == left(other.folder)


def test_seeds_killed_before_all_of_them_have_a_folder_begin_together(tmp_path: Path) -> None:
    wanted, root = specs("cql", SEEDS), tmp_path / "broken"
    whole = trained(wanted, tmp_path / "whole")
    killed(wanted, root, "bench.store:RunStore:open", 2)
    assert [info.state for spec in wanted for info in store(root).runs(seed=spec.seed)] == ["stopped", "stopped"]
    for mine, other in zip(trained(wanted, root), whole, strict=True):
        assert left(mine.folder) == left(other.folder)


def test_seeds_of_a_stopped_group_can_be_finished_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then one alone, the others together from where they were."""
    wanted, root = specs("dqn", SEEDS), tmp_path / "broken"
    whole = trained(wanted, tmp_path / "whole")
    killed(wanted, root, DROP, 3 + 3 * 2)  # at the tenth of 30 turns
    turns = Turns(monkeypatch)
    (one,) = trained(wanted[1:2], root)
    results = trained(wanted, root)
    assert results[1].folder == one.folder and results[1].records == one.records
    for mine, other in zip(results, whole, strict=True):
        assert_same(mine, other)
    assert turns.taken == 20 + 20


def test_a_damaged_checkpoint_takes_all_seeds_back_to_the_start(tmp_path: Path) -> None:
    wanted, root = specs("dqn", SEEDS), tmp_path / "broken"
    whole = trained(wanted, tmp_path / "whole")
    killed(wanted, root, DROP, 3 + 3 * 2)
    (file,) = store(root).runs(seed=0)[0].folder.glob("checkpoint/*/replay.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    again = trained(wanted, root)
    assert "replay.safetensors does not match its checksum" in again[1].warnings[0]
    assert all("not every seed" in result.warnings[-1] for result in again) and [len(r.warnings) for r in again] == [1, 2, 1]
    for mine, other in zip(again, whole, strict=True):
        assert left(mine.folder) == left(other.folder)


def test_a_second_process_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    """Whichever of the seeds the first one is writing."""
    wanted, root = specs("ppo", SEEDS), tmp_path / "broken"
    with store(root).open(wanted[1], {}), pytest.raises(StoreError, match=rf"run {wanted[1].run_id} is being written by process \d+"):
        trained(wanted, root)
    assert [info.state for info in store(root).runs()] == ["stopped"]
    whole = trained(wanted, tmp_path / "whole")
    for mine, other in zip(trained(wanted, root), whole, strict=True):
        assert left(mine.folder) == left(other.folder)


def test_worlds_that_start_themselves_are_warned_of(tmp_path: Path) -> None:
    wanted = specs("dqn", [0], ("task.autoreset=same_step",))
    killed(wanted, tmp_path, SAVE, 3)
    (again,) = trained(wanted, tmp_path)
    assert again.warnings == ["with task.autoreset, an episode cannot be taken up again; new ones were begun"]
    assert again.records[-1].samples == 120
