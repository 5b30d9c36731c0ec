"""The replay buffer beside plain lists of what was put into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, get_args

import numpy
import pytest
import torch
from counting import ENDS, NAME, Counting, by_hand
from torch import Tensor

from algorithms.dqn import DQN
from algorithms.sac import SAC
from algorithms.value import Space, Transitions, ValueRule
from bench.control.replay_buffer import ReplayBuffer
from bench.control.setup import Plan
from bench.control.value_learning import Replay
from bench.control.worlds import Step
from bench.control_settings import ReplaySettings
from tasks.cartpole import CartPole
from tasks.env import Autoreset, EnvTask
from tasks.gym import Gym
from tasks.pendulum import Pendulum

SEEDS, COLUMNS, SIZE = 3, 2, 7
ROWS, GAMMA = SEEDS * COLUMNS, 0.9
SPACES = {"discrete": Space(2, 3, discrete=True), "continuous": Space(2, 2, discrete=False)}
MODES: tuple[Autoreset, ...] = get_args(Autoreset)
BELOW_ONE = 1 - 2**-24  # the largest number below 1 that torch draws


@dataclass(frozen=True)
class Put:
    """One transition of one column; its first observed number is unique."""

    obs: list[float]
    action: Any
    reward: float
    terminated: bool
    over: bool
    next_obs: list[float]


def stepped(t: int, space: Space, rows: int = ROWS, chance: str = "a") -> tuple[Tensor, Tensor, Step]:
    """What `rows` columns do at step t: some of them nothing, some at the end of an episode of one or the other kind."""
    numbers = numpy.random.default_rng([t, rows, ord(chance)])
    end = numbers.choice(3, rows, p=[0.6, 0.2, 0.2])
    obs = numpy.stack([1000 * numpy.arange(rows) + t, numbers.normal(size=rows)], 1).astype(numpy.float32)
    action = numbers.integers(0, space.actions, rows) if space.discrete else numbers.uniform(-1, 1, (rows, space.actions))
    step = Step(
        reward=numbers.normal(size=rows).astype(numpy.float32),
        terminated=end == 1,
        truncated=end == 2,
        next_obs=obs + 0.5,
        obs=obs,
        valid=numbers.random(rows) < 0.8,
    )
    return torch.from_numpy(obs), torch.from_numpy(action if space.discrete else action.astype(numpy.float32)), step


def filled(steps: int, space: Space = SPACES["discrete"], seeds: int = SEEDS) -> tuple[ReplayBuffer, list[list[Put]]]:
    """A buffer, and the newest SIZE transitions of each column, oldest first."""
    buffer, kept = ReplayBuffer(space, seeds, COLUMNS, SIZE), list[list[Put]]([] for _ in range(seeds * COLUMNS))
    added(buffer, kept, range(steps), space)
    return buffer, kept


def added(buffer: ReplayBuffer, kept: list[list[Put]], steps: Sequence[int], space: Space = SPACES["discrete"]) -> None:
    for t in steps:
        obs, action, step = stepped(t, space, len(kept))
        buffer.add(obs, action, step)
        for row, column in enumerate(kept):
            if step.valid[row]:
                ended, cut = bool(step.terminated[row]), bool(step.truncated[row])
                after = step.next_obs[row].tolist()
                column.append(Put(obs[row].tolist(), action[row].tolist(), float(step.reward[row]), ended, ended or cut, after))
            del column[:-SIZE]


def grid(columns: int, places: int) -> Tensor:
    """(1, columns * places, 2) numbers in the middle of equal shares of [0, 1): each transition of full columns is asked for once."""
    column, place = (torch.arange(columns) + 0.5) / columns, (torch.arange(places) + 0.5) / places
    return torch.cartesian_prod(column, place).unsqueeze(0)


def everything(buffer: ReplayBuffer, n_step: int = 1) -> Transitions:
    """Each seed's transitions, column by column, oldest first, where all columns are full."""
    return buffer.draw(grid(COLUMNS, SIZE).expand(buffer.seeds, -1, -1), GAMMA, n_step)


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("steps", [20, 33, 60])
def test_a_full_buffer_holds_the_newest_transitions(kind: str, steps: int) -> None:
    buffer, kept = filled(steps, SPACES[kind])
    assert all(len(column) == SIZE for column in kept)
    found = everything(buffer)
    for row in range(SEEDS):
        wanted = [put for column in kept[row * COLUMNS : (row + 1) * COLUMNS] for put in column]
        assert found.obs[row].tolist() == [put.obs for put in wanted]
        assert found.action[row].tolist() == [put.action for put in wanted]
        assert found.reward[row].tolist() == [put.reward for put in wanted]
        assert found.next_obs[row].tolist() == [put.next_obs for put in wanted]
        assert found.terminal[row].tolist() == [put.terminated for put in wanted]
        assert found.discount[row].tolist() == pytest.approx([GAMMA] * len(wanted))
    assert found.discrete == SPACES[kind].discrete


def n_stepped(column: list[Put], at: int, n_step: int) -> tuple[float, list[float], bool, float]:
    """Reward, state after, end and discount of n steps from the transition `at`, one step after the other."""
    reward, discount = 0.0, 1.0
    for put in column[at : at + n_step]:
        reward += discount * put.reward
        discount *= GAMMA
        if put.over:
            break
    return reward, put.next_obs, put.terminated, discount


@pytest.mark.parametrize("n_step", [1, 2, 3, 5, 50])
@pytest.mark.parametrize("steps", [20, 33])
def test_rewards_of_several_steps_stop_where_an_episode_or_the_buffer_does(n_step: int, steps: int) -> None:
    """Never across an end; what a limit or the newest step cuts goes on with the value there, discounted by the steps really taken."""
    buffer, kept = filled(steps)
    found, seen = everything(buffer, n_step), set[tuple[bool, bool, int]]()
    for row in range(SEEDS):
        for column in range(COLUMNS):
            own = kept[row * COLUMNS + column]
            for at in range(SIZE):
                reward, after, ended, discount = n_stepped(own, at, n_step)
                place = row, column * SIZE + at
                assert float(found.reward[place]) == pytest.approx(reward, rel=1e-4, abs=1e-5)
                assert float(found.discount[place]) == pytest.approx(discount, rel=1e-5)
                assert found.next_obs[place].tolist() == after and bool(found.terminal[place]) == ended
                assert found.obs[place].tolist() == own[at].obs and found.action[place].tolist() == own[at].action
                seen.add((ended, own[at].over, round(numpy.log(discount) / numpy.log(GAMMA))))
    if n_step == 3:
        assert {(True, False, 2), (False, False, 3), (False, True, 1)} <= seen  # ends, goes on, is cut


def test_a_truncated_step_bootstraps_with_the_discount_of_the_steps_taken() -> None:
    """Three steps, the last cut by a limit, by hand: 1 + 0.9 * 2 + 0.81 * 4, then 0.729 of the value of the final state."""
    buffer = ReplayBuffer(Space(1, 2, discrete=True), 1, 1, 5)
    for t, reward in enumerate((1.0, 2.0, 4.0, 8.0)):
        state, cut = numpy.array([[t]], dtype=numpy.float32), numpy.array([t == 2])
        no, yes = numpy.array([False]), numpy.array([True])
        buffer.add(
            torch.from_numpy(state),
            torch.tensor([1]),
            Step(numpy.array([reward], dtype=numpy.float32), no, cut, state + 10, state, yes),
        )
    found = buffer.draw(torch.tensor([[[0.0, 0.0], [0.0, 0.25], [0.0, 0.5], [0.0, 0.75]]]), GAMMA, 5)
    assert found.reward[0].tolist() == pytest.approx([1 + 0.9 * 2 + 0.81 * 4, 2 + 0.9 * 4, 4, 8])
    assert found.discount[0].tolist() == pytest.approx([0.729, 0.81, 0.9, 0.9])
    assert found.next_obs.flatten().tolist() == [12, 12, 12, 13] and not found.terminal.any()


@pytest.mark.parametrize("steps", [2, 5, 40])
def test_each_transition_is_drawn_as_often_as_another_of_its_column(steps: int) -> None:
    """Also while columns fill, to different heights; nothing that was never put in is drawn."""
    buffer, kept = filled(steps)
    shares = 420  # a number that all heights up to SIZE divide
    uniform = grid(COLUMNS, shares).expand(SEEDS, -1, -1)
    found = buffer.draw(uniform, GAMMA, 1).obs[..., 0]
    for row in range(SEEDS):
        counts = Counter(found[row].tolist())
        for column in kept[row * COLUMNS : (row + 1) * COLUMNS]:
            assert column and [counts.pop(put.obs[0]) for put in column] == [shares / len(column)] * len(column)
        assert not counts


def test_the_ends_of_the_unit_interval_draw_the_oldest_and_the_newest() -> None:
    buffer, kept = filled(33)
    found = buffer.draw(torch.tensor([[[0.0, 0.0], [BELOW_ONE, BELOW_ONE]]]).expand(SEEDS, -1, -1), GAMMA, 1)
    for row in range(SEEDS):
        assert found.obs[row, 0].tolist() == kept[row * COLUMNS][0].obs
        assert found.obs[row, 1].tolist() == kept[row * COLUMNS + 1][-1].obs


@pytest.mark.parametrize("n_step", [1, 3])
def test_what_a_seed_draws_depends_on_no_other(n_step: int) -> None:
    """Alone, and beside seeds that put in other things, more of them or fewer."""
    space, uniform = SPACES["discrete"], torch.rand(SEEDS, 50, 2)
    buffer, other, alone = (ReplayBuffer(space, seeds, COLUMNS, SIZE) for seeds in (SEEDS, SEEDS, 1))
    mine = slice(COLUMNS, 2 * COLUMNS)
    for t in range(25):
        obs, action, step = stepped(t, space)
        buffer.add(obs, action, step)
        obs_, action_, step_ = stepped(t, space, chance="b")
        obs_[mine], action_[mine] = obs[mine], action[mine]
        for field in fields(Step):
            getattr(step_, field.name)[mine] = getattr(step, field.name)[mine]
        other.add(obs_, action_, step_)
        alone.add(obs[mine], action[mine], Step(*(getattr(step, field.name)[mine] for field in fields(Step))))
    drawn = [b.draw(u, GAMMA, n_step) for b, u in ((buffer, uniform), (other, uniform), (alone, uniform[1:2]))]
    for field in fields(Transitions):
        first, second, third = (getattr(batch, field.name) for batch in drawn)
        assert torch.equal(first[1], second[1]) and torch.equal(first[1], third[0]), field.name
    assert not torch.equal(drawn[0].reward[0], drawn[1].reward[0])


def test_memory_does_not_grow() -> None:
    buffer, kept = filled(1)
    before = {name: (value.data_ptr(), tuple(value.shape)) for name, value in buffer.held.items()}
    added(buffer, kept, range(1, 500))
    assert {name: (value.data_ptr(), tuple(value.shape)) for name, value in buffer.held.items()} == before
    assert all(shape[:2] == (ROWS, SIZE) for _, shape in before.values())
    assert (buffer.added > 300).all()


@pytest.mark.parametrize("steps", [3, 6, 40])
def test_what_is_saved_goes_on_as_if_nothing_had_happened(steps: int) -> None:
    buffer, kept = filled(steps)
    saved = [buffer.state(row) for row in range(SEEDS)]
    copies = [{name: value.clone() for name, value in state.items()} for state in saved]
    other = ReplayBuffer(SPACES["discrete"], SEEDS, COLUMNS, SIZE)
    for row, state in enumerate(saved):
        other.restore(row, state)
    for more in range(0, 15, 5):
        uniform = torch.rand(SEEDS, 40, 2)
        for field in fields(Transitions):
            assert torch.equal(*(getattr(b.draw(uniform, GAMMA, 3), field.name) for b in (buffer, other))), field.name
        for one in (buffer, other):
            added(one, [column.copy() for column in kept], range(100 + more, 105 + more))
    for state, copy in zip(saved, copies, strict=True):
        assert all(torch.equal(value, copy[name]) for name, value in state.items())


def test_what_is_saved_is_no_larger_than_what_is_held() -> None:
    buffer, kept = filled(4)
    for row in range(SEEDS):
        most = max(len(column) for column in kept[row * COLUMNS : (row + 1) * COLUMNS])
        state = buffer.state(row)
        assert 0 < most < SIZE and all(value.shape[:2] == (COLUMNS, most) for name, value in state.items() if name != "added")
        assert state["reward"].untyped_storage().nbytes() == 4 * COLUMNS * most


def test_one_seed_moves_into_another_row() -> None:
    buffer, _ = filled(40)
    alone = ReplayBuffer(SPACES["discrete"], 1, COLUMNS, SIZE)
    alone.restore(0, buffer.state(2))
    uniform = torch.rand(1, 40, 2)
    assert torch.equal(alone.draw(uniform, GAMMA, 3).obs[0], buffer.draw(uniform.expand(SEEDS, -1, -1), GAMMA, 3).obs[2])


def trainer(task: EnvTask, seeds: Sequence[int] = (3, 11), rule: ValueRule | None = None, **given: Any) -> Replay:
    settings = {"envs": 2, "train_every": 2, "batch": 8, "learning_starts": 20, "hidden": (8,)} | given
    return Replay(rule or DQN(target_every=10, epsilon_share=0.5), Plan(task, seeds, 200), ReplaySettings(**settings))


def seed_of(run: Replay, row: int, episode: int) -> int:
    """Ours for every episode, or ours for the first and Gymnasium's next ones."""
    return run.worlds.start(row, episode) if run.exact else run.worlds.start(row, 0) + episode


@pytest.mark.parametrize("mode", MODES)
def test_the_transitions_of_a_run_are_those_of_single_environments(mode: Autoreset) -> None:
    """In every autoreset mode: real final states, the end of the world apart from a limit, and no row that only began an episode."""
    run, ends = trainer(Gym(id=NAME, autoreset=mode)), set()
    for _ in range(60):
        run.advance()
    held, count = run.buffer.held, run.buffer.added.tolist()
    assert run.count.samples.tolist() == [sum(count[:2]), sum(count[2:])]
    for row in range(4):
        n = count[row]
        actions = iter(held["action"][row, :n].tolist())
        steps = by_hand(Counting(), partial(seed_of, run, row), lambda _, it=actions: next(it), n)
        for name in ("obs", "reward", "next_obs"):
            assert held[name][row, :n].tolist() == [list(x) if name != "reward" else x for x in (getattr(s, name) for s in steps)]
        assert held["terminal"][row, :n].tolist() == [step.terminated for step in steps]
        assert held["over"][row, :n].tolist() == [step.terminated or step.truncated for step in steps]
        ends |= {ENDS[int(step.obs[0]) % 3] for step in steps if step.terminated or step.truncated}
    assert ends == set(ENDS)


def test_a_run_remembers_no_more_than_it_is_told() -> None:
    run = trainer(Gym(id=NAME), buffer=12)
    sizes = []
    for _ in range(10):
        run.advance()
        sizes.append(run.probes(0).get("buffer/size"))
    assert sizes == [2.0 * n for n in (1, 2, 3, 4, 5, 6, 6, 6, 6, 6)]
    assert all(value.shape[:2] == (4, 6) for value in run.buffer.held.values())


@pytest.mark.parametrize("task", [CartPole(), Pendulum()], ids=["discrete", "continuous"])
def test_a_run_is_taken_up_again_with_all_that_it_remembers(task: EnvTask) -> None:
    rule = DQN(target_every=10, epsilon_share=0.5, n_step=3) if isinstance(task, CartPole) else SAC()
    run = trainer(task, rule=rule)
    for _ in range(30):
        run.advance()
    states = [run.state(row) for row in range(2)]
    other = trainer(task, rule=rule)
    other.restore(states)
    for _ in range(20):
        run.advance()
        other.advance()
    assert other.count.samples.tolist() == run.count.samples.tolist()
    for row in range(2):
        for group, tensors in run.state(row)[0].items():
            for name, value in tensors.items():
                assert torch.equal(other.state(row)[0][group][name], value), f"{group}: {name}"


def test_seeds_remember_the_same_alone_as_side_by_side() -> None:
    together = trainer(CartPole())
    for _ in range(40):
        together.advance()
    for row, seed in enumerate((3, 11)):
        alone = trainer(CartPole(), [seed])
        for _ in range(40):
            alone.advance()
        for name, value in alone.buffer.held.items():
            torch.testing.assert_close(value, together.buffer.held[name][2 * row : 2 * row + 2], rtol=1e-4, atol=1e-5)


def test_a_buffer_is_no_larger_than_the_budget_can_fill() -> None:
    run = trainer(CartPole(), buffer=100_000)
    assert run.buffer.size * 2 <= 202
