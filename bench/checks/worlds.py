"""What a task on Gymnasium promises, and a log beside it. Nothing is asked where what it needs is not installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, get_args

import numpy

from bench.chance import number
from bench.checks.expect import DoesNotApply, expect
from bench.control.logs import episodes_of
from bench.control.worlds import Step, Worlds
from bench.errors import MissingError
from tasks.env import Autoreset, EnvTask
from tasks.log import LogTask

ASKS = EnvTask
COLUMNS, STEPS = 3, 40
EPISODES = 30  # of random actions


def own_seed(column: int, episode: int) -> int:
    """Another one for every episode of every column."""
    return number(f"check:{column}:{episode}") % 2**31


@contextmanager
def opened(task: EnvTask, start: Callable[[int, int], int] = own_seed) -> Iterator[Worlds]:
    """COLUMNS columns of a task. Raises DoesNotApply where something is missing."""
    try:
        worlds = Worlds(task, COLUMNS, start)
    except MissingError as error:
        raise DoesNotApply(str(error)) from error
    try:
        yield worlds
    finally:
        worlds.close()


def actions(worlds: Worlds, steps: int, seed: int = 0) -> Any:
    """(steps, COLUMNS, ...) random ones."""
    chance, space = numpy.random.default_rng(seed), worlds.space
    if space.discrete:
        return chance.integers(0, space.actions, (steps, COLUMNS))
    return chance.uniform(-1, 1, (steps, COLUMNS, space.actions)).astype(numpy.float32)


def columns_are_apart(task: EnvTask) -> None:
    """The same seeds and actions give the same steps, and a column feels neither the seeds nor the actions of another."""

    def played(seed: int) -> list[Step]:
        with opened(task, lambda column, k: number(f"check:{k}" if not column else f"check:{seed}:{column}:{k}") % 2**31) as worlds:
            worlds.reset()
            mine, others = actions(worlds, STEPS), actions(worlds, STEPS, seed)
            others[:, 0] = mine[:, 0]
            return [worlds.step(action) for action in others]

    first, again, other = played(1), played(1), played(2)
    for t, (a, b, c) in enumerate(zip(first, again, other, strict=True)):
        expect((a.next_obs == b.next_obs).all() and (a.reward == b.reward).all(), f"step {t} is another one when it is taken again")
        expect((a.obs[0] == c.obs[0]).all() and a.reward[0] == c.reward[0], f"at step {t} the first column feels what the others do")


def steps_are_whole(task: EnvTask) -> None:
    """Observations and rewards are finite and of one shape; an episode that a limit cut has not ended as well."""
    with opened(task) as worlds:
        obs = worlds.reset()
        for action in actions(worlds, STEPS):
            step = worlds.step(action)
            for name, x in (("observation", step.next_obs), ("observation", step.obs), ("reward", step.reward)):
                expect(numpy.isfinite(x).all(), f"a {name} is not finite")
            expect(step.next_obs.shape == obs.shape, f"observations have shape {step.next_obs.shape} after {obs.shape}")
            expect(not (step.terminated & step.truncated).any(), "a column is terminated and truncated at once")


def has_every_autoreset(task: EnvTask) -> None:
    """Each way of beginning the next episode that the settings offer is the one that is made."""
    for wanted in get_args(Autoreset):
        with opened(replace(task, autoreset=wanted)) as worlds:
            expect(worlds.mode.name.lower() == wanted, f"autoreset={wanted} makes an environment of mode {worlds.mode.name.lower()}")


def is_taken_up_again(task: EnvTask) -> None:
    """From the seeds of its episodes and the actions since, a column is brought back to the very state it was in."""
    with opened(task) as worlds:
        if not worlds.exact:
            raise DoesNotApply("Gymnasium starts the episodes, with numbers that are not known")
        worlds.reset()
        plan = actions(worlds, 2 * STEPS)
        for action in plan[:STEPS]:
            worlds.step(action)
        held = worlds.state(range(COLUMNS))
        after = [worlds.step(action) for action in plan[STEPS:]]
    with opened(task) as worlds:
        worlds.restore([held])
        for t, (action, wanted) in enumerate(zip(plan[STEPS:], after, strict=True)):
            found = worlds.step(action)
            expect(
                (found.next_obs == wanted.next_obs).all(),
                f"step {t} after the return differs by {abs(found.next_obs - wanted.next_obs).max():g}",
            )


def score_has_its_ends(task: EnvTask) -> None:
    """The floor scores 0, the ceiling 1, and random actions are near the floor."""
    if task.floor is None or task.ceiling is None:
        raise DoesNotApply("the returns of this task are read as they are")
    expect(task.score(task.floor) == 0 and task.score(task.ceiling) == 1, "the floor does not score 0, or the ceiling not 1")
    with opened(task) as worlds:
        worlds.reset()
        steps = 0
        while len(worlds.finished) < EPISODES and steps < 20_000:
            for action in actions(worlds, STEPS, steps):
                worlds.step(action)
            steps += STEPS
        mean = task.score(sum(e.total for e in worlds.finished) / len(worlds.finished))
    expect(abs(mean) < 0.1, f"random actions score {mean:.3f} instead of about 0; is the floor of {task.floor:g} right?")


def log_is_whole(task: EnvTask) -> None:
    """Every logged episode has one state more than actions, its actions are within the world's bounds, and its rewards are finite."""
    if not isinstance(task, LogTask):
        raise DoesNotApply("this is no log")
    with opened(task) as worlds:
        try:
            episodes = episodes_of(task)
        except MissingError as error:
            raise DoesNotApply(str(error)) from error
        for i, episode in enumerate(episodes):
            steps = len(episode.reward)
            expect(len(worlds.seen(episode.obs)) == steps + 1, f"episode {i} has {len(episode.obs)} states and {steps} rewards")
            tried = worlds.tried(episode.action)
            expect(len(tried) == steps, f"episode {i} has {len(tried)} actions and {steps} rewards")
            legal = tried < worlds.space.actions if worlds.space.discrete else abs(tried) <= 1
            expect(
                legal.all() and (not worlds.space.discrete or (tried >= 0).all()), f"episode {i} has an action that the world does not know"
            )
            expect(numpy.isfinite(episode.reward).all(), f"episode {i} has a reward that is not finite")


CONTRACTS: list[tuple[str, Callable[[EnvTask], None]]] = [
    ("columns are apart", columns_are_apart),
    ("steps are whole", steps_are_whole),
    ("has every autoreset mode", has_every_autoreset),
    ("is taken up again where it was", is_taken_up_again),
    ("score has its ends", score_has_its_ends),
    ("log is whole", log_is_whole),
]
