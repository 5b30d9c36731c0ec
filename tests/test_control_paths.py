"""What is gathered on Gymnasium is what single environments give for the same actions, and its credit what a plain loop makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy
import pytest
import torch
from counting import ENDS, LENGTHS, NAME, Counting, Taken, by_hand
from torch import Tensor

from algorithms.a2c import A2C
from algorithms.base import Forward, PolicyGradient
from algorithms.dapo import DAPO
from algorithms.grpo import GRPO
from algorithms.ppo import PPO
from algorithms.reinforce import Reinforce
from bench.control.episodes import Episodes
from bench.control.evaluation import Evaluator
from bench.control.on_policy import OnPolicy
from bench.control.paths import Paths, Priced, price
from bench.control.segments import Segments
from bench.control.setup import Plan
from bench.control.training import Run
from bench.control_settings import EpisodeSettings, SegmentSettings
from bench.errors import ConfigError
from tasks.cartpole import CartPole
from tasks.env import Autoreset, EnvTask
from tasks.gym import Gym
from tasks.pendulum import Pendulum

SEEDS, ENVS, STEPS, GAMMA, LAM = (3, 11, 7), 2, 9, 0.9, 0.8
MODES: tuple[Autoreset, ...] = get_args(Autoreset)
WORLD = Gym(id=NAME)
RULE = A2C(gamma=GAMMA, lam=LAM)


def segments(task: EnvTask = WORLD, seeds: Sequence[int] = SEEDS, rule: PolicyGradient = RULE, budget: int = 1000) -> Segments:
    settings = SegmentSettings(envs=ENVS, steps=STEPS, batch=5, epochs=2, hidden=(16,), activation="relu", records=4, eval_points=2)
    return Segments(rule, Plan(task, seeds, budget), settings)


def episodes(task: EnvTask = WORLD, seeds: Sequence[int] = SEEDS, rule: PolicyGradient | None = None, budget: int = 1000) -> Episodes:
    settings = EpisodeSettings(starts=3, episodes=4, hidden=(16,), activation="relu", records=4, eval_points=2)
    return Episodes(rule or GRPO(), Plan(task, seeds, budget), settings)


def first(column: int, episode: int) -> int:
    """Columns begin with episodes that differ in how they end and how long they are."""
    return 20 * column + episode


def counted(mode: Autoreset) -> Segments:
    """Segments whose episodes are the same ones in every mode."""
    made = segments(replace(WORLD, autoreset=mode))
    made.worlds.start = first
    made._obs = made.worlds.reset()
    return made


@torch.no_grad()
def gathered(trainer: OnPolicy, rounds: int = 1) -> list[Paths]:
    found = []
    for _ in range(rounds):
        found.append(trainer.gathered())
        trainer.count.iterations += 1  # as `advance` does, which would learn, too
    return found


def value(trainer: OnPolicy, row: int, obs: Sequence[float]) -> float:
    """The critic's number for one state of one seed."""
    padded = torch.zeros(len(trainer.plan.seeds), 1, len(obs))
    padded[row, 0] = torch.tensor(obs)
    return float(trainer.actor.value(padded)[row, 0].detach())


def replayed(paths: Sequence[Paths], row: int, column: int) -> list[Taken]:
    """A column's transitions in a single environment that is given the same actions."""
    actions = iter([int(a) for part in paths for a in part.action[row, column][part.mask[row, column]]])
    steps = sum(int(part.mask[row, column].sum()) for part in paths)
    return by_hand(Counting(), lambda k: first(row * ENVS + column, k), lambda _: next(actions), steps)


def advantages(trainer: Segments, row: int, taken: Sequence[Taken]) -> list[float]:
    """Generalised advantages of one segment of one column, as the paper writes them: sums of discounted errors."""
    error, over = [], []
    for step in taken:
        after = 0.0 if step.terminated else value(trainer, row, step.next_obs)
        error.append(step.reward + GAMMA * after - value(trainer, row, step.obs))
        over.append(step.terminated or step.truncated)
    found = []
    for t in range(len(taken)):
        last = next((k for k in range(t, len(taken)) if over[k]), len(taken) - 1)
        found.append(sum((GAMMA * LAM) ** (k - t) * error[k] for k in range(t, last + 1)))
    return found


@pytest.mark.parametrize("mode", MODES)
def test_segments_are_what_single_environments_give(mode: Autoreset) -> None:
    """Three segments on end, so that episodes go on from one into the next."""
    parts = gathered(counted(mode), 3)
    for row in range(len(SEEDS)):
        for column in range(ENVS):
            steps = replayed(parts, row, column)
            here = [part.mask[row, column] for part in parts]
            for name in ("obs", "reward", "terminated"):
                found = torch.cat([getattr(part, name)[row, column][mask] for part, mask in zip(parts, here, strict=True)])
                assert found.tolist() == [list(x) if name == "obs" else x for x in (getattr(step, name) for step in steps)], name
            end = torch.cat([part.end[row, column][mask] for part, mask in zip(parts, here, strict=True)])
            assert end.tolist() == [step.terminated or step.truncated for step in steps]


@pytest.mark.parametrize("mode", MODES)
def test_advantages_in_segments_are_a_plain_loops(mode: Autoreset) -> None:
    """Over episodes that end, that a limit cuts, and that the end of the segment cuts."""
    trainer = counted(mode)
    parts, ends = gathered(trainer, 3), set()
    for row in range(len(SEEDS)):
        for column in range(ENVS):
            steps = replayed(parts, row, column)
            for part in parts:
                mask = part.mask[row, column]
                own, steps = steps[: int(mask.sum())], steps[int(mask.sum()) :]
                priced, wanted = price(RULE, part), advantages(trainer, row, own)
                assert priced.advantage[row, column][mask].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-3)
                assert priced.target is not None
                target = [a + value(trainer, row, step.obs) for a, step in zip(wanted, own, strict=True)]
                assert priced.target[row, column][mask].tolist() == pytest.approx(target, rel=1e-4, abs=1e-3)
                assert not priced.advantage[row, column][~mask].any() and not priced.weight[row, column][~mask].any()
                ends |= {"terminated" for step in own if step.terminated} | {"truncated" for step in own if step.truncated}
                ends |= set() if own[-1].terminated or own[-1].truncated else {"segment"}
    assert ends == {"terminated", "truncated", "segment"}


def test_autoreset_modes_give_the_same_advantages_for_the_same_episodes() -> None:
    """Of all episodes that lie within one segment in every mode."""
    each = []
    for mode in MODES:
        trainer = counted(mode)
        trainer.actor.sample = lambda obs, uniform, normal: (obs[..., 0] + 2 * obs[..., 1] + obs[..., 2]).long() % 3 % 2
        found: dict[tuple[int, ...], float] = {}
        for part in gathered(trainer, 4):
            advantage = price(RULE, part).advantage
            for place in whole(part):
                found[(*place[:2], *part.obs[place][:2].int().tolist())] = float(advantage[place])
        each.append(found)
    common = set.intersection(*(set(found) for found in each))
    assert len(common) > 40
    assert {ENDS[key[2] % 3] for key in common} == set(ENDS)
    for found in each[1:]:
        assert [found[key] for key in sorted(common)] == pytest.approx([each[0][key] for key in sorted(common)], rel=1e-4, abs=1e-3)


def whole(paths: Paths) -> list[tuple[int, int, int]]:
    """Seed, column and step of all transitions of episodes that begin and end in this segment."""
    found = []
    for row, column in numpy.ndindex(*paths.mask.shape[:2]):
        open_: list[int] = []
        for t in torch.nonzero(paths.mask[row, column]).flatten().tolist():
            open_.append(t)
            if paths.end[row, column, t]:
                if paths.obs[row, column, open_[0], 1] == 0:
                    found += [(row, column, at) for at in open_]
                open_ = []
    return found


@pytest.mark.parametrize("mode", MODES)
def test_truncated_paths_bootstrap_from_the_final_observation(mode: Autoreset) -> None:
    trainer = counted(mode)
    paths = gathered(trainer, 2)[1]
    assert paths.bootstrap is not None
    cut = paths.end & ~paths.terminated & paths.mask
    assert cut.any() and not paths.bootstrap[paths.terminated].any() and paths.terminated.any()
    for row, column, t in cut.nonzero().tolist():
        episode = int(paths.obs[row, column, t, 0])
        final = [episode, LENGTHS[episode % len(LENGTHS)], int(paths.action[row, column, t])]
        assert float(paths.bootstrap[row, column, t]) == pytest.approx(value(trainer, row, final), rel=1e-4)


def test_the_last_step_of_a_segment_bootstraps_from_the_state_that_the_next_one_begins_in() -> None:
    trainer = segments(CartPole())
    before, after = gathered(trainer, 2)
    assert before.bootstrap is not None and after.old_value is not None
    goes_on = ~before.end[:, :, -1]
    assert goes_on.any()
    torch.testing.assert_close(before.bootstrap[:, :, -1][goes_on], after.old_value[:, :, 0][goes_on])


@pytest.mark.parametrize("task", [CartPole(), Pendulum()], ids=["discrete", "continuous"])
def test_old_log_probabilities_are_those_of_the_actions_taken(task: EnvTask) -> None:
    trainer = segments(task)
    paths = gathered(trainer)[0]
    output = trainer.stack["policy"](paths.obs.flatten(1, 2)).detach().view(*paths.mask.shape, -1)
    if trainer.space.discrete:
        wanted = torch.distributions.Categorical(logits=output).log_prob(paths.action)
    else:
        wanted = torch.distributions.Normal(output, 1.0).log_prob(paths.action).sum(-1)
        assert (paths.action.abs() > 1).any()  # a density of what was drawn, not of what the world was given
    assert paths.old_logp is not None
    torch.testing.assert_close(paths.old_logp, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [segments, episodes])
@pytest.mark.parametrize("task", [WORLD, CartPole()], ids=["counting", "cartpole"])
def test_seeds_gather_the_same_alone_as_side_by_side(make: Any, task: EnvTask) -> None:
    trainer = make(task)
    together = gathered(trainer, 2)[1]
    for row, seed in enumerate(SEEDS):
        alone = gathered(make(task, seeds=[seed]), 2)[1]
        length = alone.mask.shape[2]
        assert not together.mask[row, :, length:].any()
        for name, found in alone.held().items():
            wanted = together.held()[name][row]
            wanted = wanted[:, :length] if wanted.dim() > 1 else wanted
            torch.testing.assert_close(found[0], wanted, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_seeds_and_their_environments_begin_apart() -> None:
    obs = gathered(segments(CartPole()))[0].obs[:, :, 0].flatten(0, 1)
    assert len(obs.unique(dim=0)) == len(SEEDS) * ENVS


@pytest.mark.parametrize(
    "rule", [A2C(gamma=0.9, lam=0.8), PPO(whiten=True), Reinforce(baseline="whiten"), GRPO(), DAPO(dynamic_sampling=False)], ids=repr
)
def test_credit_is_each_seeds_own(rule: PolicyGradient) -> None:
    paths = gathered(segments(rule=rule) if rule.critic else episodes(rule=rule))[0]
    priced = price(rule, paths)
    for row in range(len(SEEDS)):
        wanted, found = rule.credit(paths.batch(row)), priced.credit(row)
        torch.testing.assert_close(found.advantage, wanted.advantage, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.weight, wanted.weight, rtol=1e-5, atol=1e-6)
        assert found.per_path == wanted.per_path and (found.target is None) == (wanted.target is None)


@pytest.mark.parametrize("rule", [PPO(), GRPO()], ids=["segments", "episodes"])
def test_a_minibatch_is_the_same_objective_under_each_other_as_seed_by_seed(rule: PolicyGradient) -> None:
    """Each seed with rows of its own, its weights scaled as its own credit would scale them."""
    paths = gathered(segments(rule=rule) if rule.critic else episodes(rule=rule))[0]
    priced = price(rule, paths)
    priced = priced.flattened() if rule.critic else priced
    index = torch.stack([torch.randperm(priced.weight.shape[1])[:5] for _ in SEEDS])
    chosen = priced.rows(index)
    assert chosen.paths.old_logp is not None
    now = chosen.paths.old_logp + 0.3 * torch.randn(chosen.paths.mask.shape)
    batch, credit = chosen.joined()
    together = (credit.weight * rule.objective(Forward(now.flatten(0, 1)), batch, credit)).unflatten(0, (len(SEEDS), 5)).sum((1, 2))
    for row in range(len(SEEDS)):
        own_batch, own = priced.paths.batch(row).rows(index[row]), priced.credit(row).rows(index[row])
        alone = (own.weight * rule.objective(Forward(now[row]), own_batch, own)).sum()
        torch.testing.assert_close(together[row], alone, rtol=1e-5, atol=1e-6)


def test_flattened_segments_keep_every_action_with_its_credit() -> None:
    paths = gathered(segments())[0]
    priced = price(RULE, paths)
    flat = priced.flattened()
    assert flat.paths.obs.shape == (len(SEEDS), ENVS * STEPS, 1, 3) and flat.weight.shape == (len(SEEDS), ENVS * STEPS, 1)
    for row, column, t in [(0, 0, 0), (1, 1, 4), (2, 1, STEPS - 1)]:
        place = column * STEPS + t
        assert (flat.paths.obs[row, place, 0] == paths.obs[row, column, t]).all()
        assert flat.advantage[row, place, 0] == priced.advantage[row, column, t]
        assert flat.paths.action[row, place, 0] == paths.action[row, column, t]


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


@pytest.mark.parametrize("mode", MODES)
def test_a_run_on_segments_ends_with_the_first_segment_that_spends_the_budget(mode: Autoreset) -> None:
    """Evaluation's steps are not in it, and every record counts the steps that the environments had taken."""
    task = replace(WORLD, autoreset=mode)
    trainer = segments(task, budget=200)
    run = Run(trainer, Evaluator(task, 3), trainer.given)
    for records in run.train():
        for row, record in records.items():
            envs: Any = trainer.worlds.env
            taken = sum(env.unwrapped.steps for env in envs.envs[row * ENVS : (row + 1) * ENVS])
            assert record.samples == record.tokens == taken
    assert not run.going
    for progress in run.progress:
        assert 200 <= progress.samples < 200 + ENVS * STEPS


def test_a_run_on_episodes_ends_for_each_seed_with_its_own_budget() -> None:
    trainer = episodes(budget=120)
    run, counted_ = Run(trainer, Evaluator(WORLD, 3), trainer.given), dict[int, list[int]]()
    for records in run.train():
        for row, record in records.items():
            counted_.setdefault(row, []).append(record.samples)
    for samples in counted_.values():
        assert samples[0] == 0 and samples == sorted(set(samples))
        assert samples[-2] < 120 <= samples[-1] <= 120 + 12 * max(LENGTHS)


def test_records_hold_every_finished_episode_once() -> None:
    trainer = segments(budget=200)
    run, played = Run(trainer, Evaluator(WORLD, 3), trainer.given), [0.0] * len(SEEDS)
    for records in run.train():
        for row, record in records.items():
            played[row] += record.probes.get("ep/count", 0.0) * record.probes.get("ep/length", 0.0)
    state = trainer.worlds.state(range(len(SEEDS) * ENVS))
    under_way = (len(state["actions"]) - state["since"]).reshape(len(SEEDS), ENVS).sum(1)
    assert played == pytest.approx([p.samples - int(n) for p, n in zip(run.progress, under_way, strict=True)])
    assert all(math.isfinite(x) for x in played)


def test_a_batch_with_no_rows_chosen_is_all_of_it() -> None:
    priced: Priced = price(RULE, gathered(segments())[0])
    assert priced.rows(None) is priced
