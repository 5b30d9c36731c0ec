"""Whatever starts an episode's successor, the transitions are those of single environments in a plain loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

import gymnasium
import numpy
import pytest
from counting import ENDS, LENGTHS, LIMIT, NAME, Counting, Taken, by_hand
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode

from bench.control.worlds import Episode, Step, Worlds
from bench.errors import ConfigError, MissingError
from tasks.cartpole import CartPole
from tasks.env import Autoreset, EnvTask
from tasks.gym import Gym
from tasks.pendulum import Pendulum

COLUMNS, STEPS = 3, 60
MODES: tuple[Autoreset, ...] = get_args(Autoreset)


def start(column: int, episode: int) -> int:
    """Columns begin at episodes that differ in how they end and how long they are."""
    return 100 * column + episode + column


def chosen(obs: Any) -> int:
    """An action that depends on all that can be seen, so that no mode gets away with another state to act in."""
    return int(numpy.dot(obs, [5, 3, 1])) % 3 % 2


@pytest.fixture(params=MODES)
def worlds(request: pytest.FixtureRequest) -> Iterator[Worlds]:
    made = Worlds(Gym(id=NAME, autoreset=request.param), COLUMNS, start)
    yield made
    made.close()


def opened(task: EnvTask, begin: Callable[[int, int], int] = start) -> Worlds:
    return Worlds(task, COLUMNS, begin)


def actions(obs: Any) -> Any:
    return numpy.array([chosen(x) for x in obs])


def played(worlds: Worlds, steps: int) -> tuple[list[Any], list[Step]]:
    """The states acted in and the steps they led to."""
    obs, seen, found = worlds.reset(), [], []
    for _ in range(steps):
        seen.append(obs)
        found.append(worlds.step(actions(obs)))
        obs = found[-1].obs
    return seen, found


def taken(seen: list[Any], steps: list[Step], column: int) -> list[Taken]:
    """A column's valid rows."""
    return [
        Taken(
            tuple(obs[column].tolist()),
            chosen(obs[column]),
            float(step.reward[column]),
            bool(step.terminated[column]),
            bool(step.truncated[column]),
            tuple(step.next_obs[column].tolist()),
        )
        for obs, step in zip(seen, steps, strict=True)
        if step.valid[column]
    ]


def alone(column: int, steps: int) -> list[Taken]:
    return by_hand(Counting(), lambda k: start(column, k), chosen, steps)


def test_every_autoreset_mode_gives_the_transitions_of_single_environments(worlds: Worlds) -> None:
    seen, steps = played(worlds, STEPS)
    for column in range(COLUMNS):
        found = taken(seen, steps, column)
        assert found == alone(column, len(found)) and len(found) > 0.6 * STEPS


def test_the_worlds_played_by_hand_have_every_length_and_every_end() -> None:
    """What the comparisons above rest on: each length meets each way to end, an episode of one step included."""
    episodes = [episode for column in range(COLUMNS) for episode in _episodes(alone(column, STEPS))]
    assert {(len(e), ENDS[int(e[0].obs[0]) % 3]) for e in episodes} == {(n, end) for n in LENGTHS for end in ENDS}


def _episodes(steps: list[Taken]) -> list[list[Taken]]:
    """Whole episodes."""
    found: list[list[Taken]] = [[]]
    for step in steps:
        found[-1].append(step)
        if step.terminated or step.truncated:
            found.append([])
    return found[:-1]


def test_no_row_that_only_began_an_episode_passes_for_a_transition(worlds: Worlds) -> None:
    """Within a valid row the episode's number stays and its count of steps goes up by one; an invalid row ends nothing."""
    seen, steps = played(worlds, STEPS)
    for obs, step in zip(seen, steps, strict=True):
        assert (step.next_obs[step.valid, 0] == obs[step.valid, 0]).all()
        assert (step.next_obs[step.valid, 1] == obs[step.valid, 1] + 1).all()
        assert not (step.terminated | step.truncated)[~step.valid].any()
        assert (step.next_obs[~step.valid, 1] == 0).all()


def test_only_gymnasiums_next_step_mode_has_rows_without_an_action(worlds: Worlds) -> None:
    _, steps = played(worlds, STEPS)
    done = numpy.stack([step.terminated | step.truncated for step in steps])
    valid = numpy.stack([step.valid for step in steps])
    if worlds.mode is AutoresetMode.NEXT_STEP:
        assert valid[0].all() and (~valid[1:] == done[:-1]).all()
    else:
        assert valid.all()


def test_terminated_and_truncated_at_once_counts_as_terminated(worlds: Worlds) -> None:
    seen, steps = played(worlds, STEPS)
    ends = {name: [0, 0] for name in ENDS}
    for obs, step in zip(seen, steps, strict=True):
        for column in range(COLUMNS):
            count = ends[ENDS[int(obs[column, 0]) % 3]]
            count[0] += bool(step.terminated[column])
            count[1] += bool(step.truncated[column])
    assert ends["both"][0] and not ends["both"][1]
    assert ends["terminated"][0] and not ends["terminated"][1]
    assert ends["truncated"][1] and not ends["truncated"][0]


def test_truncated_steps_carry_the_real_final_observation(worlds: Worlds) -> None:
    seen, steps = played(worlds, STEPS)
    cut = [(obs[c], step.next_obs[c]) for obs, step in zip(seen, steps, strict=True) for c in numpy.flatnonzero(step.truncated)]
    assert cut
    for before, after in cut:
        episode = int(before[0])
        assert after.tolist() == [episode, LENGTHS[episode % len(LENGTHS)], chosen(before)]


def test_the_next_state_to_act_in_is_the_successors_first_once_an_episode_is_over(worlds: Worlds) -> None:
    """At once where the caller or the same step resets, after an idle row where the next step does."""
    _, steps = played(worlds, STEPS)
    for step in steps:
        done = step.terminated | step.truncated
        assert (step.obs[~done] == step.next_obs[~done]).all()
        if worlds.mode is not AutoresetMode.NEXT_STEP:
            assert (step.obs[done, 1] == 0).all() and (step.obs[done, 0] == step.next_obs[done, 0] + 1).all()


def test_what_a_step_gave_stays_as_it_was(worlds: Worlds) -> None:
    """No array is a view on something that later steps write over."""
    obs = worlds.reset()
    held: list[tuple[Any, Any]] = [(obs, obs.copy())]
    for _ in range(12):
        step = worlds.step(actions(obs))
        obs = step.obs
        held += [(x, x.copy()) for x in (step.obs, step.next_obs, step.reward, step.terminated, step.truncated, step.valid)]
    assert all((now == then).all() for now, then in held)


def test_the_steps_counted_are_the_steps_taken(worlds: Worlds) -> None:
    _, steps = played(worlds, STEPS)
    counted = sum(step.valid.astype(int) for step in steps)
    assert counted.tolist() == [env.unwrapped.steps for env in worlds.env.envs]


def test_finished_episodes_have_the_totals_and_lengths_of_the_loop_by_hand(worlds: Worlds) -> None:
    seen, steps = played(worlds, STEPS)
    for column in range(COLUMNS):
        wanted = [
            Episode(column, sum(step.reward for step in episode), len(episode), episode[-1].truncated)
            for episode in _episodes(taken(seen, steps, column))
        ]
        assert [episode for episode in worlds.finished if episode.column == column] == wanted


def test_a_reset_amid_episodes_forgets_them(worlds: Worlds) -> None:
    first, before = played(worlds, 5)
    episodes = worlds.finished.copy()
    worlds.finished.clear()
    again, after = played(worlds, 5)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    for found, wanted in zip(after, before, strict=True):
        same(found, wanted)
    assert worlds.finished == episodes


@pytest.mark.parametrize("made", [CartPole(), Gym(id=NAME), Pendulum()], ids=lambda task: str(task.id))
@pytest.mark.parametrize("first", [0, 7, 250, 1300])
def test_an_episode_is_taken_up_again_where_it_was(made: EnvTask, first: int) -> None:
    """Also past the point where actions that no episode needs any more have been dropped."""
    before = opened(made)
    obs = before.reset()
    plan = _anything(before, first + 40)
    for action in plan[:first]:
        obs = before.step(action).obs
    total, length = before._total.copy(), before._length.copy()
    held = [before.state(range(0, 1)), before.state(range(1, COLUMNS))]
    after = opened(made)
    assert before.exact and (after.restore(held) == obs).all()
    assert not after.finished and (after._length == length).all() and after._total == pytest.approx(total)
    before.finished.clear()
    for action in plan[first:]:
        same(after.step(action), before.step(action))
    assert [(e.column, e.length) for e in after.finished] == [(e.column, e.length) for e in before.finished]


def _anything(worlds: Worlds, steps: int) -> Any:
    """(steps, COLUMNS, ...) random actions."""
    chance = numpy.random.default_rng(5)
    if worlds.space.discrete:
        return chance.integers(0, worlds.space.actions, (steps, COLUMNS))
    return chance.uniform(-1.2, 1.2, (steps, COLUMNS, worlds.space.actions)).astype(numpy.float32)


def same(found: Step, wanted: Step) -> None:
    for name in ("reward", "terminated", "truncated", "next_obs", "obs", "valid"):
        assert (getattr(found, name) == getattr(wanted, name)).all(), name


def test_what_is_saved_is_a_copy() -> None:
    worlds = opened(Gym(id=NAME))
    played(worlds, 4)
    held = worlds.state(range(COLUMNS))
    before = {name: value.copy() for name, value in held.items()}
    for _ in range(10):
        worlds.step(numpy.ones(COLUMNS, dtype=int))
    assert all((held[name] == value).all() for name, value in before.items())


def test_actions_that_no_episode_needs_are_dropped() -> None:
    """The longest episode has six steps, so what is held stays far below what was played."""
    worlds = opened(Gym(id=NAME))
    played(worlds, 2500)
    assert len(worlds._actions) <= 1010
    assert len(worlds.state(range(COLUMNS))["actions"]) <= max(LENGTHS)


@pytest.mark.parametrize("mode", ["same_step", "next_step"])
def test_episodes_that_gymnasium_begins_cannot_be_taken_up_again_and_new_ones_are_whole(mode: Autoreset) -> None:
    worlds = opened(Gym(id=NAME, autoreset=mode))
    played(worlds, 7)
    held = worlds.state(range(COLUMNS))
    other = opened(Gym(id=NAME, autoreset=mode))
    obs = other.restore([held])
    assert not worlds.exact and not other.exact and (obs[:, 1] == 0).all()
    seen, steps = [], []
    for _ in range(20):
        seen.append(obs)
        steps.append(other.step(actions(obs)))
        obs = steps[-1].obs
    for column in range(COLUMNS):
        found = taken(seen, steps, column)
        first = int(found[0].obs[0])
        assert found == by_hand(Counting(), lambda k, first=first: first + k, chosen, len(found))


def test_cartpole_columns_are_single_cartpoles() -> None:
    """A column that falls often, one that is cut by the limit of 500 steps, one at random: all as in environments of their own."""
    worlds, chance = opened(CartPole()), numpy.random.default_rng(1)
    envs = [gymnasium.make("CartPole-v1") for _ in range(COLUMNS)]
    singles = [env.reset(seed=start(column, 0))[0] for column, env in enumerate(envs)]
    obs, episode, ends = worlds.reset(), [0] * COLUMNS, set()
    for _ in range(1100):
        numpy.testing.assert_allclose(obs, numpy.stack(singles), rtol=1e-5, atol=1e-6)
        x, speed, angle, turning = singles[1].tolist()
        action = numpy.array([1, int(0.1 * x + 0.3 * speed + 3 * angle + turning > 0), chance.integers(2)])
        step = worlds.step(action)
        for column, env in enumerate(envs):
            singles[column], reward, terminated, truncated, _ = env.step(action[column])
            assert (step.reward[column], step.terminated[column]) == (reward, terminated)
            assert step.truncated[column] == (truncated and not terminated) and step.valid[column]
            numpy.testing.assert_allclose(step.next_obs[column], singles[column], rtol=1e-5, atol=1e-6)
            if terminated or truncated:
                ends.add((column, "terminated" if terminated else "truncated"))
                episode[column] += 1
                singles[column] = env.reset(seed=start(column, episode[column]))[0]
        obs = step.obs
    assert ends == {(0, "terminated"), (1, "truncated"), (2, "terminated")}


@pytest.mark.parametrize("mode", MODES)
def test_actions_on_bounds_are_the_worlds_own_bounds(mode: Autoreset) -> None:
    """-1 and 1 are the least and the most torque of 2, what lies outside is clipped, and `tried` is the way back."""
    worlds = opened(Pendulum(autoreset=mode))
    asked = numpy.array([[-3.0], [0.25], [1.0]], dtype=numpy.float32)
    assert worlds.real(asked).tolist() == [[-2.0], [0.5], [2.0]]
    assert worlds.tried(worlds.real(asked)).tolist() == [[-1.0], [0.25], [1.0]]
    worlds.reset()
    env = gymnasium.make("Pendulum-v1")
    for column, torque in enumerate((-2.0, 0.5, 2.0)):
        env.reset(seed=start(column, 0))
        wanted = env.step(numpy.array([torque], dtype=numpy.float32))
        worlds.reset()
        found = worlds.step(asked)
        numpy.testing.assert_allclose(found.next_obs[column], wanted[0], rtol=1e-5, atol=1e-6)
        assert found.reward[column] == pytest.approx(wanted[1], rel=1e-5)


def test_discrete_observations_are_seen_one_hot() -> None:
    worlds = opened(Gym(id="CliffWalking-v1", limit=100))
    obs = worlds.reset()
    assert obs.shape == (COLUMNS, 48) and (obs.argmax(1) == 36).all() and (obs.sum(1) == 1).all()
    assert (worlds.step(numpy.zeros(COLUMNS, dtype=int)).next_obs.argmax(1) == 24).all()
    assert worlds.space.observation == 48 and worlds.space.discrete


class Odd(Counting):
    """A Counting world with spaces that a test chooses."""

    def __init__(self, seen: Any, done: Any) -> None:
        super().__init__()
        self.observation_space, self.action_space = seen, done


@pytest.mark.parametrize(
    ("seen", "done", "message"),
    [
        (Dict({"x": Discrete(2)}), Discrete(2), "observations of kind Dict; Box and Discrete are known"),
        (Discrete(2), Discrete(2, start=1), "discrete ones that start at 0"),
        (Discrete(2), Box(-numpy.inf, numpy.inf, (2,)), "continuous ones with bounds"),
    ],
)
def test_spaces_that_cannot_be_used_are_named(seen: Any, done: Any, message: str) -> None:
    gymnasium.register("Odd-v0", lambda: Odd(seen, done))
    try:
        with pytest.raises(ConfigError, match=message):
            opened(Gym(id="Odd-v0"))
    finally:
        del gymnasium.registry["Odd-v0"]


def test_environments_that_cannot_be_made_are_named() -> None:
    with pytest.raises(ConfigError, match="Gymnasium cannot make 'Nowhere-v0'"):
        opened(Gym(id="Nowhere-v0"))

    def missing() -> Any:
        raise gymnasium.error.DependencyNotInstalled("no engine")

    gymnasium.register("Engine-v0", missing)
    try:
        with pytest.raises(MissingError, match="Engine-v0 needs more than Gymnasium: no engine"):
            opened(Gym(id="Engine-v0"))
    finally:
        del gymnasium.registry["Engine-v0"]


def test_an_environment_that_never_cuts_an_episode_needs_a_limit() -> None:
    with pytest.raises(
        ConfigError, match=r"CliffWalking-v1 has no time limit, so an episode may never end; set one, such as task\.limit=1000"
    ):
        opened(Gym(id="CliffWalking-v1"))
    worlds = opened(Gym(id="CliffWalking-v1", limit=7))
    worlds.reset()
    cut = [worlds.step(numpy.zeros(worlds.columns, dtype=int)).truncated.all() for _ in range(7)]
    assert worlds.limit == 7 and cut == [False] * 6 + [True]


def test_the_time_limit_is_known() -> None:
    assert opened(CartPole()).limit == 500 and opened(CartPole(autoreset="next_step")).limit == 500
    assert opened(Pendulum()).limit == 200 and opened(Gym(id=NAME)).limit == LIMIT
