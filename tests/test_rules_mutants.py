"""A contract that nothing can break proves nothing: each rule here breaks the contracts it names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from breaking import broken_by
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, PolicyGradient
from bench.checks import gradients, rules, settings

# Runs have tests/test_learning.py, critics and pairs tests/test_critics.py and tests/test_preferences.py.
CONTRACTS = [*settings.CONTRACTS, *rules.CONTRACTS, *gradients.CONTRACTS]


@dataclass(frozen=True, kw_only=True)
class Plain(PolicyGradient):
    """An unclipped ratio on centred returns: sound."""

    group: ClassVar[bool] = True

    def credit(self, batch: Batch) -> Credit:
        returns = ops.path_return(self.shaped(batch), batch.mask)
        _, mean, deviation = ops.group_moments(returns, batch.group)
        centred = ((returns - mean) * (deviation > 0)).nan_to_num(0.0)
        return Credit(ops.per_action(centred, batch.mask), ops.token_mean(batch.mask, batch.old_logp.dtype))

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return ops.log_ratio(now.logp, batch.old_logp, batch.mask).exp() * credit.advantage


@dataclass(frozen=True, kw_only=True)
class AveragesLate(Plain):
    def credit(self, batch: Batch) -> Credit:
        return replace(super().credit(batch), weight=batch.mask.to(batch.old_logp))

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return super().surrogate(now, batch, credit) / batch.mask.sum()


@dataclass(frozen=True, kw_only=True)
class MultipliesByTheMask(Plain):
    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return (now.logp - batch.old_logp).exp() * credit.advantage * batch.mask


@dataclass(frozen=True, kw_only=True)
class DividesByTheDeviation(Plain):
    std_eps: float = 1e-6

    def credit(self, batch: Batch) -> Credit:
        returns = ops.path_return(self.shaped(batch), batch.mask)
        members = batch.group.unsqueeze(-1) == batch.group
        mean = (members * returns).sum(-1) / members.sum(-1)
        deviation = ((members * (returns - mean.unsqueeze(-1)) ** 2).sum(-1) / (members.sum(-1) - 1)).sqrt()
        advantage = (returns - mean) / (deviation + self.std_eps)
        return Credit(ops.per_action(advantage, batch.mask), ops.token_mean(batch.mask, batch.old_logp.dtype))


@dataclass(frozen=True, kw_only=True)
class LooksAtTheRowAbove(Plain):
    def credit(self, batch: Batch) -> Credit:
        plain = super().credit(batch)
        return replace(plain, advantage=ops.masked(plain.advantage + plain.advantage[:, :1].roll(1, 0), batch.mask))


@dataclass(frozen=True, kw_only=True)
class TwiceTheStep(Plain):
    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return ops.log_ratio(2 * now.logp, 2 * batch.old_logp, batch.mask).exp() * credit.advantage


@dataclass(frozen=True, kw_only=True)
class DropsTheGradient(Plain):
    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        value = super().surrogate(now, batch, credit)
        return value.data + (now.logp - now.logp.data) * credit.advantage * batch.mask


@dataclass(frozen=True, kw_only=True)
class RollsDice(Plain):
    def credit(self, batch: Batch) -> Credit:
        plain = super().credit(batch)
        return replace(plain, advantage=plain.advantage + 0 * torch.rand(1, dtype=plain.advantage.dtype))


@dataclass(frozen=True, kw_only=True)
class WritesIntoTheBatch(Plain):
    def credit(self, batch: Batch) -> Credit:
        batch.reward[~batch.mask] = 0.0
        return super().credit(batch)


@dataclass(frozen=True, kw_only=True)
class Overflows(Plain):
    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return (ops.masked(now.logp, batch.mask) - ops.masked(batch.old_logp, batch.mask)).exp() * credit.advantage


@dataclass(frozen=True, kw_only=True)
class TearsGroups(Plain):
    def keep(self, batch: Batch) -> Tensor:
        return torch.arange(len(batch.group)) % 2 == 0


@dataclass(frozen=True, kw_only=True)
class RecordsATensor(Plain):
    scale: Any = (torch.float64,)


@dataclass(frozen=True, kw_only=True)
class SaysItClips(Plain):
    clips: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class KeepsTheMean(Plain):
    def credit(self, batch: Batch) -> Credit:
        return replace(
            super().credit(batch), advantage=ops.per_action(ops.path_return(batch.reward, batch.mask).nan_to_num(0.0), batch.mask)
        )


@dataclass(frozen=True, kw_only=True)
class LosesDigits(Plain):
    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return (super().surrogate(now, batch, credit) + 1e4) - 1e4


@dataclass(frozen=True, kw_only=True)
class PaysThePadding(Plain):
    def credit(self, batch: Batch) -> Credit:
        plain = super().credit(batch)
        return replace(plain, advantage=plain.advantage + (~batch.mask).to(plain.advantage))


@dataclass(frozen=True, kw_only=True)
class SharesADefect(Plain):
    """One path that could not be scored halves the advantages of all."""

    def credit(self, batch: Batch) -> Credit:
        plain = super().credit(batch)
        return replace(plain, advantage=plain.advantage * (0.5 if batch.reward[batch.mask].isnan().any() else 1.0))


@dataclass(frozen=True, kw_only=True)
class DropsTheTerms(Plain):
    def objective(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return self.surrogate(now, batch, credit)


@dataclass(frozen=True, kw_only=True)
class HalvesThePull(Plain):
    def objective(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return super(HalvesThePull, replace(self, kl=0.5 * self.kl)).objective(now, batch, credit)


@dataclass(frozen=True, kw_only=True)
class DropsThePullInTheReward(Plain):
    def shaped(self, batch: Batch) -> Tensor:
        return ops.masked(batch.reward, batch.mask)


@dataclass(frozen=True, kw_only=True)
class TurnsThePullInTheReward(Plain):
    def shaped(self, batch: Batch) -> Tensor:
        return 2 * ops.masked(batch.reward, batch.mask) - super().shaped(batch)


MUTANTS: list[tuple[PolicyGradient, set[str]]] = [
    (AveragesLate(), {"weights_average", "splits_exactly", "follows_the_policy_gradient"}),
    (MultipliesByTheMask(), {"ignores_padding"}),
    (DividesByTheDeviation(), {"equal_rewards_teach_nothing", "unscorable_paths_stay_out"}),
    (LooksAtTheRowAbove(), {"ignores_order", "unscorable_paths_stay_out"}),
    (TwiceTheStep(), {"gate_is_open_on_policy", "follows_the_policy_gradient"}),
    (DropsTheGradient(), {"agrees_with_finite_differences"}),
    (RollsDice(), {"is_pure"}),
    (WritesIntoTheBatch(), {"is_pure"}),
    (Overflows(), {"stays_finite"}),
    (TearsGroups(), {"keeps_whole_groups"}),
    (RecordsATensor(), {"survive_json"}),
    (SaysItClips(), {"says_whether_it_clips"}),
    (KeepsTheMean(), {"rewards_have_no_scale", "equal_rewards_teach_nothing"}),
    (LosesDigits(), {"float32_suffices"}),
    (PaysThePadding(), {"credit_is_fixed"}),
    (SharesADefect(), {"unscorable_paths_stay_out"}),
    (DropsTheTerms(), {"terms_count"}),
    (HalvesThePull(), {"terms_count"}),
    (DropsThePullInTheReward(), {"terms_count"}),
    (TurnsThePullInTheReward(), {"terms_count"}),
]


def test_the_mutants_have_a_sound_parent() -> None:
    assert broken_by(Plain(), CONTRACTS) == set()


@pytest.mark.parametrize(("rule", "expected"), MUTANTS, ids=lambda x: type(x).__name__)
def test_contracts_catch(rule: PolicyGradient, expected: set[str]) -> None:
    assert expected <= broken_by(rule, CONTRACTS)


def test_every_contract_of_rules_has_a_mutant() -> None:
    general = {"are_frozen", "has_a_summary"}
    assert set().union(*(expected for _, expected in MUTANTS)) == {contract.__name__ for _, contract in CONTRACTS} - general
