"""Whole episodes: their starts, their steps, the groups that are kept, and what a stopped trainer goes on with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from counting import NAME, Counting, by_hand
from gathering import (
    ENVS,
    GAMMA,
    MODES,
    SEEDS,
    WORLD,
    counted,
    episodes,
    gathered,
    segments,
)
from torch import Tensor

from algorithms.dapo import DAPO
from algorithms.reinforce import Reinforce
from bench.control.episodes import Episodes
from bench.control.paths import Paths, price
from bench.errors import ConfigError
from tasks.cartpole import CartPole
from tasks.env import Autoreset, EnvTask
from tasks.gym import Gym


def started(trainer: Episodes, paths: Paths) -> Tensor:
    """(S, B, O) the states in which the paths begin."""
    assert paths.mask[:, :, 0].all()
    return paths.obs[:, :, 0]


def test_episodes_of_a_group_start_equal_and_others_apart() -> None:
    trainer = episodes(CartPole())
    seen = []
    for paths in gathered(trainer, 2):
        first_ = started(trainer, paths)
        assert paths.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        for group in range(3):
            own = first_[:, paths.group == group]
            assert (own == own[:, :1]).all()
            seen.append(own[:, 0])
        assert len({tuple(a.tolist()) for a in paths.action[:, paths.group == 0, :8].flatten(0, 1)}) > 3  # they go their own ways
    assert len(torch.cat(seen).unique(dim=0)) == 2 * 3 * len(SEEDS)


def test_episodes_of_a_rule_without_groups_all_start_apart() -> None:
    trainer = episodes(CartPole(), rule=Reinforce())
    paths = gathered(trainer)[0]
    assert paths.group.tolist() == list(range(12))
    assert len(started(trainer, paths).flatten(0, 1).unique(dim=0)) == 12 * len(SEEDS)


@pytest.mark.parametrize("make", [segments, episodes])
@pytest.mark.parametrize("task", [WORLD, CartPole()], ids=["counting", "cartpole"])
def test_what_is_saved_goes_on_as_if_nothing_had_happened(make: Any, task: EnvTask) -> None:
    """Also in a trainer that has never gathered anything."""
    trainer = make(task)
    for _ in range(2):
        trainer.advance()
    states = [trainer.state(row) for row in range(len(SEEDS))]
    other = make(task)
    other.restore(states)
    assert other.count.samples.tolist() == trainer.count.samples.tolist()
    assert all(other.count.episodes[row] == trainer.count.episodes.get(row, []) for row in range(len(SEEDS)))
    for _ in range(2):
        wanted, found = gathered(trainer)[0], gathered(other)[0]
        for name, value_ in wanted.held().items():
            assert torch.equal(found.held()[name], value_), name
        trainer.advance()
        other.advance()
    assert other.count.samples.tolist() == trainer.count.samples.tolist()


def test_episodes_are_what_single_environments_give_and_no_step_longer() -> None:
    trainer = episodes(rule=Reinforce(baseline="none", gamma=GAMMA))
    paths, ends = gathered(trainer)[0], set()
    to_go = price(trainer.rule, paths).advantage
    for row in range(len(SEEDS)):
        for column in range(trainer.columns):
            mask, actions = paths.mask[row, column], iter(paths.action[row, column].tolist())
            length = int(mask.sum())
            steps = by_hand(
                Counting(), lambda k, at=row * trainer.columns + column: trainer._start(at, k), lambda _, it=actions: next(it), length
            )
            over = [step.terminated or step.truncated for step in steps]
            assert over == [False] * (length - 1) + [True] and mask.tolist() == [t < length for t in range(len(mask))]
            assert paths.reward[row, column, :length].tolist() == [step.reward for step in steps]
            assert paths.obs[row, column, :length].tolist() == [list(step.obs) for step in steps]
            assert paths.end[row, column].tolist() == [t == length - 1 for t in range(len(mask))]
            assert bool(paths.truncated[row, column]) == steps[-1].truncated
            assert paths.terminated[row, column].any() == steps[-1].terminated
            wanted = [sum(GAMMA ** (k - t) * steps[k].reward for k in range(t, length)) for t in range(length)]
            assert to_go[row, column, :length].tolist() == pytest.approx(wanted, rel=1e-5)
            ends.add("terminated" if steps[-1].terminated else "truncated")
    assert ends == {"terminated", "truncated"}


@pytest.mark.parametrize("mode", MODES)
def test_segments_count_the_steps_that_environments_took(mode: Autoreset) -> None:
    trainer = counted(mode)
    parts = gathered(trainer, 3)
    envs: Any = trainer.worlds.env
    taken = [sum(env.unwrapped.steps for env in envs.envs[row * ENVS : (row + 1) * ENVS]) for row in range(len(SEEDS))]
    assert trainer.count.samples.tolist() == taken == sum(part.mask.sum((1, 2)) for part in parts).tolist()
    for row in range(len(SEEDS)):
        ended = sum(int((part.end & part.mask)[row].sum()) for part in parts)
        assert len(trainer.count.episodes[row]) == ended


def test_episodes_count_the_steps_of_each_columns_first_episode_alone() -> None:
    """Columns go on while others are still under way; what they do then is neither counted nor looked at."""
    trainer = episodes()
    paths = gathered(trainer)[0]
    assert trainer.count.samples.tolist() == paths.mask.sum((1, 2)).tolist()
    for row in range(len(SEEDS)):
        found = {e.column - row * trainer.columns: (e.total, e.length, e.truncated) for e in trainer.count.episodes[row]}
        assert len(trainer.count.episodes[row]) == len(found) == trainer.columns
        for column, (total, length, truncated) in found.items():
            assert length == int(paths.mask[row, column].sum()) and truncated == bool(paths.truncated[row, column])
            assert total == pytest.approx(float(paths.reward[row, column][paths.mask[row, column]].sum()))


def sampled(trainer: Episodes) -> tuple[list[Paths], list[list[int]], Paths]:
    """All rounds of one rollout batch, the seeds that each was for, and the batch."""
    rounds: list[Paths] = []
    rows: list[list[int]] = []
    own = trainer._played

    def spied(name: str, short: Any) -> Paths:
        rows.append(list(short))
        rounds.append(own(name, short))
        return rounds[-1]

    trainer._played = spied
    return rounds, rows, gathered(trainer)[0]


def worthy(paths: Paths, row: int) -> list[list[tuple[float, ...]]]:
    """The rewards of the paths of each group whose returns differ."""
    groups = []
    for group in range(3):
        own = [tuple(paths.reward[row, b][paths.mask[row, b]].tolist()) for b in range(12) if int(paths.group[b]) == group]
        if len({sum(rewards) for rewards in own}) > 1:
            groups.append(own)
    return groups


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_dynamic_sampling_keeps_the_first_groups_whose_returns_differ(rounds: int) -> None:
    """Half the worlds pay alike whatever is done, so a batch takes several rounds, and seeds need different numbers of them."""
    trainer = episodes(seeds=(3, 11, 7, 20), rule=DAPO(max_rounds=rounds))
    played, rows, batch = sampled(trainer)
    assert batch.mask.shape[:2] == (4, 12) and len(played) <= rounds
    for row in range(4):
        own = [paths for paths, short in zip(played, rows, strict=True) if row in short]
        groups = [group for paths in own for group in worthy(paths, row)]
        before = [group for paths in own[:-1] for group in worthy(paths, row)]
        assert len(before) < 3 and (len(groups) >= 3 or len(own) == rounds)
        assert int(trainer.count.samples[row]) == sum(int(paths.mask[row].sum()) for paths in own)
        found = [tuple(batch.reward[row, b][batch.mask[row, b]].tolist()) for b in range(12)]
        wanted = (
            [rewards for group in groups[:3] for rewards in group]
            if rounds > 1
            else [tuple(played[0].reward[row, b][played[0].mask[row, b]].tolist()) for b in range(12)]
        )
        assert found == wanted + [()] * (12 - len(wanted))
        assert not batch.end[row][~batch.mask[row]].any()
    if rounds == 5:
        assert len({sum(row in short for short in rows) for row in range(4)}) > 1


def test_a_seed_whose_budget_is_spent_samples_no_more() -> None:
    """Even though its batch is not full."""
    trainer = episodes(rule=DAPO(max_rounds=8), budget=1)
    _, rows, batch = sampled(trainer)
    assert rows == [[0, 1, 2]] and not batch.mask.any(-1).all()


def test_an_exhausted_batch_is_an_error_where_that_is_asked_for() -> None:
    trainer = episodes(rule=DAPO(max_rounds=2, on_exhausted="error"), seeds=range(8))
    with pytest.raises(ConfigError, match=r"of 3 groups had different returns after 2 rounds; raise algo.max_rounds"):
        gathered(trainer)


def test_episodes_refuse_what_they_cannot_keep() -> None:
    with pytest.raises(ConfigError, match=r"task.autoreset=disabled; it is same_step"):
        episodes(Gym(id=NAME, autoreset="same_step"))
    with pytest.raises(ConfigError, match="carry"):
        episodes(rule=DAPO(surplus="carry"))
