"""Paths of several seeds: log-probabilities and credit are each seed's own, however they are cut and joined."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gathering import (
    ENVS,
    RULE,
    SEEDS,
    STEPS,
    WORLD,
    episodes,
    gathered,
    segments,
)

from algorithms.a2c import A2C
from algorithms.base import Forward, PolicyGradient
from algorithms.dapo import DAPO
from algorithms.grpo import GRPO
from algorithms.ppo import PPO
from algorithms.reinforce import Reinforce
from bench.control.paths import Priced, price
from tasks.cartpole import CartPole
from tasks.env import EnvTask
from tasks.pendulum import Pendulum


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


def test_a_batch_with_no_rows_chosen_is_all_of_it() -> None:
    priced: Priced = price(RULE, gathered(segments())[0])
    assert priced.rows(None) is priced
