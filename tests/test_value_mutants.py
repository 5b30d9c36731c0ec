"""The contracts of value rules can fail: each rule here breaks the contracts it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from breaking import broken_by
from torch import Tensor

from algorithms import tanh_gaussian
from algorithms.bc import BC
from algorithms.cql import CQL
from algorithms.dqn import DQN
from algorithms.sac import SAC, Choice
from algorithms.value import Network, Networks, Parameter, Space, Transitions, ValueRule, chosen
from bench import checks
from bench.checks import chains, value_slopes, values

CONTRACTS = [*values.CONTRACTS, *value_slopes.CONTRACTS, *chains.CONTRACTS]
Updates = Iterator[tuple[str, Tensor]]
Noise = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class AveragesRows(DQN):
    def updates(self, nets: Networks, batch: Transitions, noise: Noise) -> Updates:
        for name, loss in super().updates(nets, batch, noise):
            yield name, loss.mean(-1)


@dataclass(frozen=True, kw_only=True)
class ForgetsANetwork(DQN):
    def networks(self, space: Space) -> dict[str, Network | Parameter]:
        return super().networks(space) | {"spare": Parameter()}


@dataclass(frozen=True, kw_only=True)
class AveragesProbes(DQN):
    def probes(self, nets: Networks, batch: Transitions, noise: Noise) -> dict[str, Tensor]:
        return {name: probe.mean() for name, probe in super().probes(nets, batch, noise).items()}


@dataclass(frozen=True, kw_only=True)
class SharesAPenalty(DQN):
    """A pull on all seeds' weights at once."""

    def updates(self, nets: Networks, batch: Transitions, noise: Noise) -> Updates:
        value = self.values(nets["q"](batch.obs))
        for name, loss in super().updates(nets, batch, noise):
            yield name, loss + value.square().mean()


@dataclass(frozen=True, kw_only=True)
class LooksAtTheAxes(DQN):
    def updates(self, nets: Networks, batch: Transitions, noise: Noise) -> Updates:
        for name, loss in super().updates(nets, batch, noise):
            yield name, loss / loss.dim()


@dataclass(frozen=True, kw_only=True)
class CentresRewards(DQN):
    def target(self, nets: Networks, batch: Transitions) -> Tensor:
        return super().target(nets, replace(batch, reward=batch.reward - batch.reward.mean(-1, keepdim=True)))


@dataclass(frozen=True, kw_only=True)
class LooksAtTheRowAbove(SAC):
    def critic_error(self, nets: Networks, batch: Transitions, target: Tensor) -> Tensor:
        return super().critic_error(nets, batch, 0.9 * target + 0.1 * target.roll(1, -1))


@dataclass(frozen=True, kw_only=True)
class NeverEnds(DQN):
    def target(self, nets: Networks, batch: Transitions) -> Tensor:
        return super().target(nets, replace(batch, terminal=torch.zeros_like(batch.terminal)))


@dataclass(frozen=True, kw_only=True)
class CountsOnGamma(SAC):
    """Takes its own discount for every transition's."""

    def target(self, nets: Networks, batch: Transitions, noise: Tensor | None, alpha: Tensor) -> Tensor:
        return super().target(nets, replace(batch, discount=torch.full_like(batch.discount, self.gamma)), noise, alpha)


@dataclass(frozen=True, kw_only=True)
class EntropyAfterTheEnd(SAC):
    """The parenthesis that holds value and entropy is closed too early."""

    @torch.no_grad()
    def target(self, nets: Networks, batch: Transitions, noise: Tensor | None, alpha: Tensor) -> Tensor:
        plain = super().target(nets, batch, noise, 0 * alpha)
        output = nets["policy"](batch.next_obs)
        logp = output.log_softmax(-1).mean(-1) if noise is None else tanh_gaussian.sample(output, noise)[1]
        return plain - alpha * logp


@dataclass(frozen=True, kw_only=True)
class NeverEndsInALog(CQL):
    def target(self, nets: Networks, batch: Transitions, noise: Tensor, alpha: Tensor) -> Tensor:
        return super().target(nets, replace(batch, terminal=0 * batch.terminal), noise, alpha)


@dataclass(frozen=True, kw_only=True)
class MeasuresBeyondTheEnd(DQN):
    def probes(self, nets: Networks, batch: Transitions, noise: Noise) -> dict[str, Tensor]:
        return super().probes(nets, batch, noise) | {"q/next": self.values(nets["q"](batch.next_obs)).mean((-2, -1))}


@dataclass(frozen=True, kw_only=True)
class RollsDice(DQN):
    def explore(self, nets: Networks, obs: Tensor, space: Space, uniform: Tensor, normal: Tensor, spent: float) -> Tensor:
        return super().explore(nets, obs, space, torch.rand(uniform.shape, dtype=uniform.dtype, device=uniform.device), normal, spent)


@dataclass(frozen=True, kw_only=True)
class ClipsRewardsInPlace(DQN):
    def target(self, nets: Networks, batch: Transitions) -> Tensor:
        batch.reward.clamp_(-0.1, 0.1)
        return super().target(nets, batch)


@dataclass(frozen=True, kw_only=True)
class BuildsOnTheCPU(DQN):
    def error(self, value: Tensor, target: Tensor) -> Tensor:
        return super().error(value, target) + torch.zeros(value.shape, dtype=value.dtype)


@dataclass(frozen=True, kw_only=True)
class FetchesANumber(SAC):
    def alpha(self, nets: Networks, like: Tensor) -> Tensor:
        alpha = super().alpha(nets, like)
        return alpha if float(alpha.sum()) > 0 else 0 * alpha


@dataclass(frozen=True, kw_only=True)
class OneActionTooMany(DQN):
    def explore(self, nets: Networks, obs: Tensor, space: Space, uniform: Tensor, normal: Tensor, spent: float) -> Tensor:
        return (uniform[..., 1] * space.actions).round().long()


@dataclass(frozen=True, kw_only=True)
class ForgetsToSquash(SAC):
    def act(self, nets: Networks, obs: Tensor, space: Space) -> Tensor:
        return super().act(nets, obs, space) if space.discrete else tanh_gaussian.parts(nets["policy"](obs))[0]


@dataclass(frozen=True, kw_only=True)
class FollowsTheTarget(DQN):
    """The residual gradient: the target moves, too."""

    def target(self, nets: Networks, batch: Transitions) -> Tensor:
        after = self.values(nets["q"](batch.next_obs)).amax(-1)
        return batch.reward + batch.discount * (1 - batch.terminal) * after


@dataclass(frozen=True, kw_only=True)
class MovesTheCopy(DQN):
    def updates(self, nets: Networks, batch: Transitions, noise: Noise) -> Updates:
        for name, loss in super().updates(nets, batch, noise):
            yield name, loss + chosen(nets["q_target"](batch.obs), batch.action)


@dataclass(frozen=True, kw_only=True)
class TemperatureMovesThePolicy(SAC):
    def temperature_error(self, nets: Networks, batch: Transitions, now: Choice) -> Tensor:
        return -nets["log_temperature"]() * (now.expected(now.logp) + self.wanted_entropy(batch, now))


@dataclass(frozen=True, kw_only=True)
class TwiceTheStep(DQN):
    def error(self, value: Tensor, target: Tensor) -> Tensor:
        plain = super().error(value, target)
        return 2 * plain - plain.detach()


@dataclass(frozen=True, kw_only=True)
class TakesLogOfZero(SAC):
    """The density by the naive formula, which saturated actions break."""

    def updates(self, nets: Networks, batch: Transitions, noise: Noise) -> Updates:
        for name, loss in super().updates(nets, batch, noise):
            if name != "policy" or batch.discrete:
                yield name, loss
            else:
                action, _ = tanh_gaussian.sample(nets["policy"](batch.obs), noise["now"])
                yield name, loss + (1 - action.square()).log().sum(-1)


@dataclass(frozen=True, kw_only=True)
class HatesRewards(DQN):
    def target(self, nets: Networks, batch: Transitions) -> Tensor:
        return super().target(nets, replace(batch, reward=-batch.reward))


@dataclass(frozen=True, kw_only=True)
class CopiesAnything(BC):
    """Says that it could learn from its own experience, and only copies it."""

    offline: ClassVar[Any] = "both"


@dataclass(frozen=True, kw_only=True)
class AvoidsTheLog(BC):
    def error(self, nets: Networks, batch: Transitions) -> Tensor:
        return -super().error(nets, batch).clamp_max(5)


MUTANTS: list[tuple[ValueRule, set[str]]] = [
    (AveragesRows(), {"gives_a_loss_per_transition"}),
    (ForgetsANetwork(), {"gives_a_loss_per_transition"}),
    (AveragesProbes(), {"gives_a_loss_per_transition", "keeps_seeds_apart"}),
    (SharesAPenalty(), {"keeps_seeds_apart", "agrees_with_vmap", "keeps_rows_apart"}),
    (LooksAtTheAxes(), {"keeps_seeds_apart", "agrees_with_vmap"}),
    (CentresRewards(), {"keeps_rows_apart"}),
    (LooksAtTheRowAbove(), {"keeps_rows_apart"}),
    (NeverEnds(), {"nothing_follows_an_end"}),
    (CountsOnGamma(), {"nothing_follows_an_end"}),
    (EntropyAfterTheEnd(), {"nothing_follows_an_end"}),
    (NeverEndsInALog(), {"nothing_follows_an_end"}),
    (MeasuresBeyondTheEnd(), {"nothing_follows_an_end"}),
    (RollsDice(), {"is_pure"}),
    (ClipsRewardsInPlace(), {"is_pure"}),
    (BuildsOnTheCPU(), {"stays_on_its_device"}),
    (FetchesANumber(), {"stays_on_its_device"}),
    (OneActionTooMany(), {"acts_legally"}),
    (ForgetsToSquash(), {"acts_legally"}),
    (FollowsTheTarget(), {"targets_are_fixed"}),
    (MovesTheCopy(), {"targets_are_fixed"}),
    (TemperatureMovesThePolicy(), {"moves_only_what_it_names"}),
    (TwiceTheStep(), {"agrees_with_finite_differences"}),
    (TakesLogOfZero(), {"stays_finite"}),
    (HatesRewards(), {"learns_a_chain"}),
    (CopiesAnything(), {"learns_a_chain"}),
    (AvoidsTheLog(), {"learns_a_chain"}),
]


@pytest.mark.parametrize(("rule", "expected"), MUTANTS, ids=lambda x: type(x).__name__)
def test_contracts_catch(rule: ValueRule, expected: set[str]) -> None:
    found = broken_by(rule, CONTRACTS)
    assert expected <= found
    assert len(found) < len(CONTRACTS) // 2  # a mutant that breaks everything shows nothing


def test_every_contract_of_value_rules_has_a_mutant() -> None:
    assert set().union(*(expected for _, expected in MUTANTS)) == {contract.__name__ for _, contract in CONTRACTS}


@dataclass(frozen=True, kw_only=True)
class TakesNothing(DQN):
    def networks(self, space: Space) -> dict[str, Network | Parameter]:
        raise ValueError("no")


def test_a_rule_must_take_some_kind_of_action() -> None:
    with pytest.raises(AssertionError, match="neither discrete nor continuous"):
        values.gives_a_loss_per_transition(TakesNothing())


def test_an_unstackable_operation_is_no_broken_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise RuntimeError("no batching rule")

    monkeypatch.setattr(torch, "vmap", lambda function: refuse)
    with pytest.raises(checks.DoesNotApply, match="no batching rule"):
        values.agrees_with_vmap(DQN())


def test_each_sort_of_rule_is_asked_for_its_own_contracts() -> None:
    titles = {name: {title for title, _ in checks.contracts("algorithms", rule)} for name, rule in (("dqn", DQN()), ("bc", BC()))}
    assert titles["dqn"] == titles["bc"]
    own = {title for title, _ in CONTRACTS}
    assert own < titles["dqn"] and len(titles["dqn"]) == len(own) + 3  # those of settings
    assert "learns last_digit" not in titles["dqn"]
