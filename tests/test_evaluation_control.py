"""Evaluation on Gymnasium: whole episodes of its own, the same for all, that leave training as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, ClassVar, get_args

import gymnasium
import numpy
import pytest
import torch
from counting import LENGTHS, NAME, Counting, by_hand
from torch import Tensor

from algorithms.a2c import A2C
from algorithms.dqn import DQN
from algorithms.grpo import GRPO
from algorithms.sac import SAC
from algorithms.value import Space
from bench.control.episodes import Episodes
from bench.control.evaluation import Evaluator
from bench.control.segments import Segments
from bench.control.setup import Plan, Trainer, no_samples
from bench.control.training import Run
from bench.control.value_learning import Replay
from bench.control_settings import EpisodeSettings, ReplaySettings, SegmentSettings
from tasks.cartpole import CartPole
from tasks.env import Autoreset, EnvTask
from tasks.gym import Gym
from tasks.pendulum import Pendulum

EPISODES, SEEDS, GAMMA = 8, (3, 11, 7), 0.9
NAMES = ["3:0", "11:0", "7:0"]
WORLD = Gym(id=NAME)


class Told(Trainer):
    """Surely chooses 0 and tries 1; with `worth`, every action is worth the number of steps before it. Keeps what it was asked."""

    def __init__(self, seeds: Sequence[int] = SEEDS, worth: bool = False) -> None:
        self.plan, self.space, self.count = Plan(WORLD, seeds, 100), Space(3, 2, discrete=True), no_samples(seeds)
        self.stack: Any = SimpleNamespace(seeds=list(seeds))
        self.rule, self.worth = SimpleNamespace(gamma=GAMMA), worth
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def advance(self) -> None:
        raise AssertionError("evaluation does not train")

    def best(self, obs: Tensor) -> Tensor:
        return torch.zeros(obs.shape[:2], dtype=torch.long)

    def tried(self, obs: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        self.asked.append((obs, uniform, normal))
        return torch.ones(obs.shape[:2], dtype=torch.long)

    def value(self, obs: Tensor, action: Tensor) -> Tensor | None:
        return 10 + obs[..., 1] + 3 * action if self.worth else None

    def probes(self, row: int) -> dict[str, float]:
        return {}


@pytest.fixture
def evaluator() -> Iterator[Evaluator]:
    with closing(Evaluator(WORLD, EPISODES)) as made:
        yield made


def numbers(evaluator: Evaluator, rows: int = 1) -> list[int]:
    """Which worlds the columns begin in."""
    worlds = evaluator._open(rows)
    return [worlds.start(column, 0) % 1000 for column in range(rows * EPISODES)]


def paid(number: int, action: int) -> float:
    """What a Counting episode pays in all where every action is the same."""
    length = LENGTHS[number % len(LENGTHS)]
    return length * (length + 1) / 2 + (length * action if number % 2 else 0)


def test_the_score_is_the_mean_of_exactly_one_episode_from_each_start(evaluator: Evaluator) -> None:
    """Worlds differ in length, and a column goes on with further episodes while longer ones last; those do not count."""
    found = evaluator(Told(), [0, 1, 2], NAMES)
    totals = [paid(number, 0) for number in numbers(evaluator)]
    lengths = [LENGTHS[number % len(LENGTHS)] for number in numbers(evaluator)]
    assert len(set(lengths)) > 2 and len(totals) == EPISODES
    for one in (judged.probes for judged in found):
        assert one["eval/return"] == pytest.approx(numpy.mean(totals))
        assert one["eval/return_std"] == pytest.approx(numpy.std(totals))
        assert one["eval/length"] == pytest.approx(numpy.mean(lengths))
        assert one["eval/truncated"] == numpy.mean([number % 3 == 1 for number in numbers(evaluator)])


def test_the_surest_and_the_exploring_policy_are_both_reported(evaluator: Evaluator) -> None:
    """From the same starts, and the score is the surest one's."""
    found = evaluator(Told(), [0, 1, 2], NAMES)
    sure, free = (numpy.mean([paid(number, action) for number in numbers(evaluator)]) for action in (0, 1))
    assert sure != free
    for one in (judged.probes for judged in found):
        assert one["eval/return"] == one["eval/score"] == pytest.approx(sure)
        assert one["eval/return_stochastic"] == one["eval/score_stochastic"] == pytest.approx(free)


@dataclass(frozen=True, kw_only=True)
class Scaled(Gym):
    """The Counting world with known ends of its scale."""

    floor: ClassVar[float | None] = 2.0
    ceiling: ClassVar[float | None] = 12.0


def test_scores_lie_between_the_tasks_floor_and_its_ceiling() -> None:
    with closing(Evaluator(Scaled(id=NAME), EPISODES)) as evaluator:
        found = evaluator(Told(), [0], NAMES[:1])[0].probes
    assert found["eval/return"] != found["eval/score"]
    assert found["eval/score"] == pytest.approx((found["eval/return"] - 2) / 10)
    assert found["eval/score_stochastic"] == pytest.approx((found["eval/return_stochastic"] - 2) / 10)
    assert (CartPole().score(22.0), CartPole().score(500.0), CartPole().score(261.0)) == (0, 1, 0.5)
    assert Pendulum().score(-1220.0) == 0 and Pendulum().score(-157.0) == 1 and WORLD.score(-3.5) == -3.5


def test_all_seeds_meet_the_same_starts_and_each_its_own_chance(evaluator: Evaluator) -> None:
    trainer = Told()
    evaluator(trainer, [0, 1, 2], NAMES)
    obs, uniform, normal = trainer.asked[0]
    assert (obs == obs[:1]).all() and len(obs[0].unique(dim=0)) == EPISODES
    assert numbers(evaluator, 3) == numbers(evaluator, 1) * 3
    for name, drawn in (("uniform", uniform), ("normal", normal)):
        assert drawn.shape == (3, EPISODES, 2) and len(drawn.unique()) == drawn.numel(), name
    later = trainer.asked[1][1]
    assert not set(later.flatten().tolist()) & set(uniform.flatten().tolist())
    assert all(x.min() >= 0 and x.max() < 1 for _, x, _ in trainer.asked) and (normal < 0).any()


def test_the_exploring_policys_chance_comes_from_the_name_alone(evaluator: Evaluator) -> None:
    first, again, other = Told(), Told(), Told((5, 6, 8))
    evaluator(first, [0, 1, 2], NAMES)
    evaluator(again, [0, 1, 2], NAMES)
    evaluator(other, [0, 1, 2], ["3:0", "11:1", "7:0"])
    for a, b, c in zip(first.asked, again.asked, other.asked, strict=True):
        for at in (1, 2):
            assert torch.equal(a[at], b[at])
            assert [torch.equal(a[at][row], c[at][row]) for row in range(3)] == [True, False, True]


def test_chance_does_not_repeat_in_long_episodes() -> None:
    """Numbers are made a block at a time."""
    trainer = segments(Pendulum())
    seen, own = [], trainer.tried

    def spied(obs: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        seen.append(normal[0, 0].clone())
        return own(obs, uniform, normal)

    trainer.tried = spied
    with closing(Evaluator(Pendulum(), 1)) as evaluator:
        evaluator(trainer, [0], ["a"])
    assert len(seen) == 200 == len(torch.stack(seen).unique(dim=0))


def segments(task: EnvTask) -> Segments:
    return Segments(
        A2C(), Plan(task, SEEDS, 400), SegmentSettings(envs=2, steps=10, hidden=(8,), records=8, eval_points=4, eval_episodes=3)
    )


def episodes(task: EnvTask) -> Episodes:
    return Episodes(GRPO(), Plan(task, SEEDS, 400), EpisodeSettings(starts=2, episodes=3, hidden=(8,)))


def replay(task: EnvTask) -> Replay:
    rule = DQN(target_every=10, epsilon_share=0.5) if isinstance(task, CartPole) else SAC()
    return Replay(rule, Plan(task, SEEDS, 400), ReplaySettings(batch=8, learning_starts=10, hidden=(8,)))


TRAINERS = [(segments, CartPole()), (segments, CartPole(autoreset="next_step")), (episodes, CartPole()), (replay, CartPole())]


@pytest.mark.parametrize(("make", "task"), TRAINERS, ids=["segments", "next_step", "episodes", "replay"])
def test_training_is_the_same_whether_or_not_it_is_evaluated(make: Any, task: EnvTask) -> None:
    plain, watched = make(task), make(task)
    with closing(Evaluator(task, 3)) as evaluator:
        for n in range(20 if make is replay else 4):
            plain.advance()
            evaluator(watched, [0, 1, 2], NAMES)
            watched.advance()
            evaluator(watched, [1], [f"11:{n}"])
    assert plain.count.samples.tolist() == watched.count.samples.tolist() and plain.count.episodes == watched.count.episodes
    for row in range(3):
        for group, tensors in plain.state(row)[0].items():
            for name, value in tensors.items():
                assert torch.equal(watched.state(row)[0][group][name], value), f"{group}: {name}"


@pytest.mark.parametrize("make", [segments, replay])
@pytest.mark.parametrize("task", [CartPole(), Pendulum()], ids=["discrete", "continuous"])
def test_evaluation_repeats_itself_and_takes_no_chance_from_outside(make: Any, task: EnvTask) -> None:
    trainer = make(task)
    trainer.advance()
    torch.manual_seed(1)
    numpy.random.seed(1)
    before = torch.get_rng_state(), numpy.random.get_state()[1].tolist()
    with closing(Evaluator(task, 3)) as evaluator, closing(Evaluator(task, 3)) as other:
        first = evaluator(trainer, [0, 1, 2], NAMES)
        assert torch.equal(torch.get_rng_state(), before[0]) and numpy.random.get_state()[1].tolist() == before[1]
        torch.manual_seed(2)
        assert evaluator(trainer, [0, 1, 2], NAMES) == first and other(trainer, [0, 1, 2], NAMES) == first
        changed = evaluator(trainer, [0, 1, 2], ["3:1", "11:1", "7:1"])
    for one, two in ((a.probes, b.probes) for a, b in zip(first, changed, strict=True)):
        assert one["eval/return_stochastic"] != two["eval/return_stochastic"]
        assert {k: v for k, v in one.items() if "stochastic" not in k} == {k: v for k, v in two.items() if "stochastic" not in k}


@pytest.mark.parametrize("make", [segments, episodes, replay])
def test_a_seed_is_evaluated_the_same_alone_as_beside_others(make: Any) -> None:
    trainer = make(CartPole())
    for _ in range(12 if make is replay else 1):
        trainer.advance()
    with closing(Evaluator(CartPole(), 3)) as evaluator:
        together = evaluator(trainer, [0, 1, 2], NAMES)
        assert together[1].probes["eval/return_stochastic"] != together[2].probes["eval/return_stochastic"]
        for rows in ([1], [2, 0]):
            alone = evaluator(trainer, rows, [NAMES[row] for row in rows])
            for row, found in zip(rows, alone, strict=True):
                assert found.probes == pytest.approx(together[row].probes, rel=1e-5)
                assert found.items == together[row].items


def test_the_surest_policy_plays_as_in_single_environments() -> None:
    """CartPole by hand, for each seed's own policy, from the evaluation's start seeds."""
    trainer = segments(CartPole())
    for _ in range(3):
        trainer.advance()
    with closing(Evaluator(CartPole(), 3)) as evaluator:
        found, starts = evaluator(trainer, [0, 1, 2], NAMES), evaluator._open(3).start
    for row in range(3):
        lengths = []
        for episode in range(3):
            env = gymnasium.make("CartPole-v1")
            obs, _ = env.reset(seed=starts(row * 3 + episode, 0))
            over, length = False, 0
            while not over:
                states = torch.from_numpy(obs).expand(3, 1, 4)
                obs, _, terminated, truncated, _ = env.step(int(trainer.best(states)[row, 0]))
                over, length = terminated or truncated, length + 1
            lengths.append(length)
        of = found[row].probes
        assert of["eval/return"] == of["eval/length"] == pytest.approx(numpy.mean(lengths))
        assert of["eval/score"] == pytest.approx((numpy.mean(lengths) - 22) / (500 - 22))
        assert found[row].items.scores == pytest.approx([(length - 22) / (500 - 22) for length in lengths])


def test_evaluation_starts_where_no_training_does() -> None:
    trainer = segments(CartPole())
    with closing(Evaluator(CartPole(), 20)) as evaluator:
        own = {evaluator._open(3).start(column, 0) for column in range(60)}
    assert len(own) == 20 and not own & {trainer.worlds.start(column, k) for column in range(6) for k in range(100)}


@pytest.mark.parametrize("mode", get_args(Autoreset))
def test_how_training_resets_does_not_matter_to_evaluation(mode: Autoreset) -> None:
    with closing(Evaluator(replace(WORLD, autoreset=mode), EPISODES)) as evaluator, closing(Evaluator(WORLD, EPISODES)) as plain:
        assert evaluator(Told(), [0], NAMES[:1]) == plain(Told(), [0], NAMES[:1])


def test_overestimation_is_the_value_less_the_return_that_followed(evaluator: Evaluator) -> None:
    """Over every step of the counted episodes; where a limit cut one, the return goes on with the value of the final state."""
    trainer = Told(worth=True)
    found = evaluator(trainer, [0, 1, 2], NAMES)
    excess = []
    for number in numbers(evaluator):
        steps = by_hand(Counting(), lambda _, seed=number: seed, lambda _: 0, LENGTHS[number % len(LENGTHS)])
        later = 10 + steps[-1].next_obs[1] if steps[-1].truncated else 0.0
        for step in reversed(steps):
            later = step.reward + GAMMA * later
            excess.append(10 + step.obs[1] - later)
    assert {number % 3 == 1 for number in numbers(evaluator)} == {True, False}
    for one in (judged.probes for judged in found):
        assert one["q/overestimation"] == pytest.approx(numpy.mean(excess), rel=1e-4)
    assert evaluator(trainer, [2], ["7:0"])[0].probes["q/overestimation"] == pytest.approx(numpy.mean(excess), rel=1e-4)


def test_rules_without_action_values_overestimate_nothing(evaluator: Evaluator) -> None:
    assert "q/overestimation" not in evaluator(Told(), [0], NAMES[:1])[0].probes


def test_a_run_is_evaluated_at_its_start_its_end_and_evenly_between() -> None:
    trainer = segments(CartPole())
    with closing(Run(trainer, Evaluator(CartPole(), 3), trainer.given)) as run:
        curve = [records[0] for records in run.train() if 0 in records]
    looked = [record.samples for record in curve if record.eval_score is not None]
    assert looked == [0, 100, 200, 300, 400] and len(curve) == 9
    for record in curve:
        assert (record.eval_score is None) == ("eval/return" not in record.probes) == ("eval/return_stochastic" not in record.probes)
        if record.eval_score is not None:
            assert record.eval_score == record.probes["eval/score"]
