"""Rules with a critic: their contracts can fail, their maths at the edges, and what the loop does with the critic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms import ops
from algorithms.a2c import A2C
from algorithms.base import Batch, Credit
from algorithms.critic import ActorCritic
from algorithms.ppo import PPO
from bench.bases import BASES
from bench.checks import critics
from bench.checks.batches import batch, close, forward, step
from bench.config import TrainSettings
from bench.evaluation import problems
from bench.loops import policy_gradient
from bench.loops.progress import Progress
from bench.loops.setup import Learner, Plan, learner
from bench.loops.training import train
from bench.loops.updates import Rows, Step, update
from bench.policy import Policy
from bench.record import Record
from bench.rollout import rows, verdicts
from bench.samplers.hf import HF
from bench.verifying import Verifier
from tasks.base import Problem, generator
from tasks.last_digit import LastDigit

TASK = LastDigit()


@dataclass(frozen=True, kw_only=True)
class WhitensItsTargets(PPO):
    def credit(self, batch: Batch) -> Credit:
        plain = super().credit(batch)
        assert batch.old_value is not None
        return replace(plain, target=ops.masked(plain.advantage + batch.old_value, batch.mask))


@dataclass(frozen=True, kw_only=True)
class ForgetsTheValue(A2C):
    def credit(self, batch: Batch) -> Credit:
        plain = super().credit(batch)
        return replace(plain, advantage=ops.reward_to_go(self.shaped(batch), batch.mask))


@dataclass(frozen=True, kw_only=True)
class RunsAcrossEnds(A2C):
    def credit(self, batch: Batch) -> Credit:
        return super().credit(replace(batch, end=None))


@dataclass(frozen=True, kw_only=True)
class EndsAtEveryCut(A2C):
    def credit(self, batch: Batch) -> Credit:
        return super().credit(replace(batch, bootstrap=None))


@dataclass(frozen=True, kw_only=True)
class IgnoresTheValueClip(PPO):
    def value_loss(self, value: Tensor, batch: Batch, credit: Credit) -> Tensor:
        return super(IgnoresTheValueClip, replace(self, value_clip=None)).value_loss(value, batch, credit)


@dataclass(frozen=True, kw_only=True)
class ClipsAnyValue(PPO):
    def value_loss(self, value: Tensor, batch: Batch, credit: Credit) -> Tensor:
        return super(ClipsAnyValue, replace(self, value_clip=self.value_clip or 0.1)).value_loss(value, batch, credit)


MUTANTS: list[tuple[ActorCritic, set[str]]] = [
    (A2C(), set()),
    (PPO(), set()),
    (WhitensItsTargets(), {"targets_are_returns"}),
    (ForgetsTheValue(), {contract.__name__ for _, contract in critics.CONTRACTS} - {"a_value_clip_holds"}),
    (RunsAcrossEnds(), {"an_end_cuts_a_path"}),
    (EndsAtEveryCut(), {"a_cut_is_not_an_end"}),
    (IgnoresTheValueClip(), {"a_value_clip_holds"}),
    (ClipsAnyValue(), {"a_value_clip_holds", "targets_are_returns"}),
]


@pytest.mark.parametrize(("rule", "expected"), MUTANTS, ids=lambda x: type(x).__name__)
def test_contracts_catch(rule: ActorCritic, expected: set[str]) -> None:
    found = set()
    for _, contract in critics.CONTRACTS:
        try:
            contract(rule)
        except AssertionError:
            found.add(contract.__name__)
    assert expected == found


def test_every_contract_has_a_mutant() -> None:
    assert set().union(*(expected for _, expected in MUTANTS)) == {contract.__name__ for _, contract in critics.CONTRACTS}


def test_lambda_one_gives_return_less_value() -> None:
    of = replace(batch("lambda"), bootstrap=None, end=None)
    assert of.old_value is not None
    found = A2C(lam=1.0).credit(of).advantage
    close(found, ops.masked(ops.reward_to_go(of.reward, of.mask) - of.old_value, of.mask), "advantage")


def test_lambda_zero_gives_the_temporal_difference() -> None:
    of = replace(batch("lambda"), bootstrap=None, end=None)
    assert of.old_value is not None
    value = ops.masked(of.old_value, of.mask)
    after = torch.cat([value[:, 1:], torch.zeros_like(value[:, :1])], -1)
    found = A2C(lam=0.0, gamma=0.9).credit(of).advantage
    close(found, ops.masked(of.reward + 0.9 * after - value, of.mask), "advantage")


def test_one_ppo_step_is_an_a2c_step() -> None:
    """One epoch, one minibatch, no value clip: the same gradient along log-probabilities and values (at the sampling policy)."""
    of = batch("one step")
    at = replace(forward(of, "one step"), logp=of.old_logp.clone())
    for whiten in (False, True):
        ppo, a2c = PPO(lam=0.9, whiten=whiten, value_clip=None), A2C(lam=0.9, whiten=whiten)
        for name, slope in step(ppo, at, of)[1].items():
            close(slope, step(a2c, at, of)[1][name], f"gradient along {name}")


def test_a_clipped_value_has_no_slope_outside_its_band() -> None:
    of = batch("band")
    assert of.old_value is not None
    credit = PPO(value_clip=0.1).credit(of)
    assert credit.target is not None
    ahead = of.old_value + 0.5 * torch.sign(credit.target - of.old_value)  # moved towards the target, beyond the band
    near = (ahead - credit.target).abs() < (of.old_value - credit.target).abs() - 0.1
    value = ahead.requires_grad_()
    PPO(value_clip=0.1).value_loss(value, of, credit).sum().backward()
    assert value.grad is not None and near.logical_and(of.mask).any()
    assert (value.grad[near & of.mask] == 0).all()


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(TASK) as workers:
        yield workers


def run(rule: Any, verifier: Verifier, count: int, **settings: Any) -> tuple[list[Record], Learner]:
    """The first `count` rollout batches of a run on the shipped base model."""
    chosen = TrainSettings(**{"prompts": 8, "completions": 4, "eval_problems": 4, "eval_completions": 1, "warmup": 0, **settings})
    learns = learner(rule, Policy.load(BASES / "last_digit"), chosen, HF(), verifier)
    plan = Plan(TASK, problems(TASK, "heldout", 4), chosen, 0, 10**9, 10**9)
    return list(islice(train(learns, plan, Progress()), 1, count + 1)), learns


@pytest.mark.parametrize("shared", [False, True])
def test_the_critic_learns(shared: bool, verifier: Verifier) -> None:
    """Shown the same returns again and again, it comes to know them, whether or not it has a trunk of its own."""
    settings = TrainSettings(lr=1e-3, critic_lr=1e-2, shared_trunk=shared)
    learns = learner(A2C(), Policy.load(BASES / "last_digit"), settings, HF(), verifier)
    assert (learns.critic is learns.policy) == shared
    assert sorted(learns.weights()) == (["model"] if shared else ["critic", "model"])
    groups = learns.collect(problems(TASK, "train", 8), 4, 4, "critic")
    of, texts = verdicts(groups, 4), rows(groups)
    assert learns.critic is not None
    errors = []
    for _ in range(60):
        with torch.no_grad():
            value = learns.critic.values(*texts)
        of = replace(of, old_value=value)
        credit = A2C().credit(of)
        assert credit.target is not None
        errors.append(float((value - credit.target)[of.mask].square().mean()))
        update(learns, A2C(), settings, Rows(of, replace(credit, advantage=torch.zeros_like(value)), *texts))
    assert errors[-1] < errors[0] / 3


def test_the_critic_starts_at_the_mean_return(verifier: Verifier) -> None:
    (record,), _ = run(A2C(), verifier, 1)
    assert record.probes["value/mean"] == pytest.approx(record.train_score, abs=1e-6)


def test_the_trunks_are_apart(verifier: Verifier) -> None:
    """With no policy step (learning rate next to 0) the policy stays and the critic moves."""
    _, learns = run(PPO(), verifier, 2, lr=1e-30)
    start = Policy.load(BASES / "last_digit")
    assert learns.critic is not None
    assert all(torch.equal(value, start.tensors()[name]) for name, value in learns.policy.tensors().items())
    assert any(not torch.equal(value, start.tensors()[name]) for name, value in learns.critic.tensors().items() if name in start.tensors())


@pytest.mark.parametrize("shared", [False, True])
def test_target_kl_stops_the_policy_and_not_the_critic(shared: bool, verifier: Verifier) -> None:
    (free,), _ = run(PPO(), verifier, 1, lr=3e-3, epochs=4, shared_trunk=shared)
    (held,), learns = run(PPO(target_kl=1e-4), verifier, 1, lr=3e-3, epochs=4, shared_trunk=shared)
    assert "update/stopped" not in free.probes
    assert held.updates == free.updates == 16
    assert 0 < held.probes["update/stopped"] < 16
    assert held.probes["kl_old/k3"] < free.probes["kl_old/k3"]
    optimizer = learns.critic_optimizer or learns.optimizer
    head = learns.critic.value_head.weight if learns.critic is not None and learns.critic.value_head is not None else None
    assert head is not None and int(optimizer.state[head]["step"]) == 16


@pytest.mark.parametrize("shared", [False, True])
def test_a_policy_that_was_stopped_stands_still(shared: bool, verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a bit of it moves once it has gone too far, not even where the critic that goes on is a head on its trunk."""
    seen: list[tuple[bool, list[Tensor]]] = []

    def watched(models: Learner, *arguments: Any, **named: Any) -> Step | None:
        step = update(models, *arguments, **named)
        seen.append((step is not None and step.moved, [p.detach().clone() for p in models.policy.model.parameters()]))
        return step

    monkeypatch.setattr(policy_gradient, "update", watched)
    run(PPO(target_kl=1e-4), verifier, 1, lr=3e-3, epochs=4, shared_trunk=shared, weight_decay=0.1)
    first = [moved for moved, _ in seen].index(False)
    assert 0 < first < len(seen) - 1
    assert all(torch.equal(a, b) for _, weights in seen[first:] for a, b in zip(weights, seen[first - 1][1], strict=True))


def test_demonstrations_are_raised_along(verifier: Verifier) -> None:
    def likelihood(learns: Learner) -> float:
        asked, told = demonstrated(learns.policy, 32)
        with torch.no_grad():
            return float(learns.policy.forward(asked, told).logp.mean())

    (_, plain), (_, taught) = run(PPO(), verifier, 3, lr=1e-3), run(PPO(), verifier, 3, lr=1e-3, ptx_coef=1.0)
    assert likelihood(taught) > likelihood(plain) + 0.01


def demonstrated(policy: Policy, count: int) -> tuple[list[list[int]], list[list[int]]]:
    shown = problems(TASK, "train", count)
    random = generator("demonstrated")
    return [policy.encode(p.prompt) for p in shown], [[*policy.encode(TASK.demonstration(p, random)), policy.end] for p in shown]


@pytest.mark.parametrize("shared", [False, True])
def test_demonstrations_add_their_mean_log_likelihood(shared: bool, verifier: Verifier) -> None:
    """The gradient with them less the one without is theirs alone, worked out row by row with the model's own logits."""
    found = []
    for shown in (False, True):
        settings = TrainSettings(ptx_coef=0.7, grad_clip=1e9, shared_trunk=shared)
        learns = learner(PPO(), Policy.load(BASES / "last_digit"), settings, HF(), verifier)
        groups = learns.collect(problems(TASK, "train", 4), 4, 4, "demonstrations")
        texts = rows(groups)
        of = replace(verdicts(groups, 4), old_value=torch.zeros_like(verdicts(groups, 4).reward))
        update(learns, PPO(), settings, Rows(of, PPO().credit(of), *texts), demonstrated(learns.policy, 6) if shown else None)
        found.append({n: p.grad for n, p in learns.policy.model.named_parameters() if p.grad is not None})
    start = Policy.load(BASES / "last_digit")
    logp = []
    for asked, told in zip(*demonstrated(start, 6), strict=True):
        logits = start.model(input_ids=torch.tensor([[*asked, *told]])).logits[0, len(asked) - 1 : -1]
        logp += list(logits.log_softmax(-1)[torch.arange(len(told)), told])
    (-0.7 * torch.stack(logp).mean()).backward()
    for name, parameter in start.model.named_parameters():
        torch.testing.assert_close(found[1][name] - found[0][name], parameter.grad, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize(("settings", "wanted"), [({}, 0), ({"ptx_coef": 0.1, "ptx_rows": 3}, 2 * 4 * 3)])
def test_demonstrations_are_made_only_where_asked(
    settings: dict[str, Any], wanted: int, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows for each of four optimizer steps of two rollout batches, all of them of the prompts at hand; or none."""
    asked: list[str] = []

    def demonstration(task: LastDigit, problem: Problem, random: Random) -> str:
        asked.append(problem.prompt)
        return f"#### {problem.answer}"

    monkeypatch.setattr(LastDigit, "demonstration", demonstration)
    run(PPO(), verifier, 2, **settings)
    assert len(asked) == wanted
    assert set(asked) <= {p.prompt for p in islice(TASK.problems("train", 0), 16)}
