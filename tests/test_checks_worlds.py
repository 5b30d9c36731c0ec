"""Contracts of tasks on Gymnasium bite: each task here breaks the ones it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy
import pytest
from breaking import broken_by
from gymnasium import Wrapper, make
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from bench import checks
from bench.checks import worlds
from tasks.cartpole import CartPole
from tasks.cartpole_columns import CartPoleColumns
from tasks.cartpole_logged import CartPoleLogged
from tasks.env import EnvTask
from tasks.log import LoggedEpisode


class OneNoise(CartPoleColumns):
    """The first column is pushed by what the last one does."""

    def step(self, action: Any) -> Any:
        _, *others = super().step(action)
        self.state[1, 0] += 0.01 * action[-1]
        return self.state.T.astype(numpy.float32), *others


class Drifts(CartPoleColumns):
    """Every step is a little stronger than the one before, whatever the episode."""

    taken = 0

    def step(self, action: Any) -> Any:
        self.taken += 1
        self.force_mag = 10.0 + self.taken / 100
        return super().step(action)


class Overflows(CartPoleColumns):
    def step(self, action: Any) -> Any:
        obs, reward, *others = super().step(action)
        return obs, numpy.where(self.state[0] > 0.05, numpy.inf, reward), *others


@dataclass(frozen=True, kw_only=True)
class Columns(CartPole):
    """A cart-pole on other columns."""

    columns: ClassVar[type[CartPoleColumns]] = CartPoleColumns

    def make(self, n: int) -> Any:
        return self.columns(n) if self.autoreset == "disabled" else super().make(n)


class Neighbours(Columns):
    columns = OneNoise


class Ages(Columns):
    columns = Drifts


class Infinite(Columns):
    columns = Overflows


class ByChance(Wrapper[Any, Any, Any, Any]):
    """Steps with rewards from a generator that no seed reaches."""

    def step(self, action: Any) -> Any:
        obs, reward, *others = super().step(action)
        return obs, float(reward) * numpy.random.default_rng().uniform(0.5, 1.5), *others


class Unseeded(CartPole):
    def make(self, n: int) -> Any:
        mode = {mode.name.lower(): mode for mode in AutoresetMode}[self.autoreset]
        return SyncVectorEnv([lambda: ByChance(make("CartPole-v1", disable_env_checker=True))] * n, autoreset_mode=mode)


class OneMode(CartPole):
    def make(self, n: int) -> Any:
        return CartPoleColumns(n)


class WrongFloor(CartPole):
    floor: ClassVar[float | None] = 100.0


class OtherScale(CartPole):
    def score(self, total: float) -> float:
        return total / 1000


class LacksTheLastState(CartPoleLogged):
    def episodes(self) -> Iterator[LoggedEpisode]:
        for episode in super().episodes():
            yield replace(episode, obs=episode.obs[:-1])


class KnowsAThirdAction(CartPoleLogged):
    def episodes(self) -> Iterator[LoggedEpisode]:
        for episode in super().episodes():
            yield replace(episode, action=episode.action + 1)


class PaysNothingKnown(CartPoleLogged):
    def episodes(self) -> Iterator[LoggedEpisode]:
        for episode in super().episodes():
            yield replace(episode, reward=episode.reward * numpy.nan)


TASKS: list[tuple[EnvTask, set[str]]] = [
    (CartPole(), set()),
    (CartPoleLogged(), set()),
    (Columns(), set()),
    (Neighbours(), {"columns_are_apart"}),
    (Unseeded(), {"columns_are_apart"}),
    (Infinite(), {"steps_are_whole"}),
    (OneMode(), {"has_every_autoreset"}),
    (Ages(), {"is_taken_up_again"}),
    (WrongFloor(), {"score_has_its_ends"}),
    (OtherScale(), {"score_has_its_ends"}),
    (LacksTheLastState(), {"log_is_whole"}),
    (KnowsAThirdAction(), {"log_is_whole"}),
    (PaysNothingKnown(), {"log_is_whole"}),
]


@pytest.mark.parametrize(("task", "expected"), TASKS, ids=lambda x: type(x).__name__)
def test_contracts_of_worlds_catch(task: EnvTask, expected: set[str]) -> None:
    found = broken_by(task, worlds.CONTRACTS)
    assert found == expected if not expected else expected <= found


def test_every_contract_of_worlds_is_broken_by_something() -> None:
    assert set().union(*(expected for _, expected in TASKS)) == {contract.__name__ for _, contract in worlds.CONTRACTS}


def test_tasks_on_gymnasium_are_asked_these_and_no_others_of_text() -> None:
    asked = {contract.__name__ for _, contract in checks.contracts("tasks", CartPole())}
    assert {contract.__name__ for _, contract in worlds.CONTRACTS} <= asked
    assert "splits_share_nothing" not in asked
