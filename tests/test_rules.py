"""Every rule in the registry keeps every contract, with its defaults and with each of its settings turned; and the contracts bite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, PolicyGradient
from algorithms.dapo import DAPO
from algorithms.grpo import GRPO
from algorithms.gspo import GSPO
from algorithms.reinforce import Reinforce
from algorithms.sapo import SAPO
from bench import checks
from bench.checks.batches import batch, forward, loss, tensors
from bench.registry import load, names

CONTRACTS = checks.contracts("algorithms")
titles = pytest.mark.parametrize(("title", "contract"), CONTRACTS, ids=[title for title, _ in CONTRACTS])


@pytest.mark.parametrize("name", names("algorithms"))
@titles
def test_every_rule_keeps(name: str, title: str, contract: Callable[[Any], None]) -> None:
    contract(load("algorithms", name)())


VARIANTS: list[PolicyGradient] = [
    GRPO(dual_clip=3.0),
    DAPO(group_average=True),
    DAPO(overlong_filter=True, overlong_cache=0.5),
    DAPO(dynamic_sampling=False, overlong_soft=False),
    GSPO(per_token=True),
    GSPO(clip_low=0.1, clip_high=0.2),
    SAPO(gate="tanh"),
    SAPO(gate="tanh_pessimistic", eta=2.0, offset=0.3),
    SAPO(tau_pos=10.0, tau_neg=0.1),
    Reinforce(baseline="none"),
    Reinforce(baseline="ema"),
    Reinforce(baseline="group_loo"),
    Reinforce(baseline="whiten"),
    Reinforce(gamma=0.9, ratio_cap=2.0),
]


def changed(rule: PolicyGradient) -> str:
    plain = type(rule)()
    values = {k: v for k, v in vars(rule).items() if getattr(plain, k) != v}
    return f"{type(rule).__name__}({', '.join(f'{k}={v}' for k, v in values.items())})"


@pytest.mark.parametrize("rule", VARIANTS, ids=changed)
@titles
def test_every_variant_keeps(rule: PolicyGradient, title: str, contract: Callable[[Any], None]) -> None:
    contract(rule)


@pytest.mark.parametrize("normaliser", ["paths", "limit"])
def test_other_normalisers_only_rescale(normaliser: str) -> None:
    of = batch("normaliser")
    plain, other = Reinforce().credit(of).weight, Reinforce(normaliser=normaliser).credit(of).weight  # type: ignore[arg-type]
    paths = of.mask.shape[0] * (1 if normaliser == "paths" else of.mask.shape[1])
    torch.testing.assert_close(other, plain * of.mask.sum() / paths, rtol=1e-14, atol=0)


@pytest.mark.parametrize("shift", [100.0, -100.0])
@pytest.mark.parametrize("rule", [load("algorithms", n)() for n in names("algorithms")], ids=lambda r: type(r).__name__)
def test_far_from_the_sampling_policy_ratios_have_no_slope(rule: PolicyGradient, shift: float) -> None:
    """Beyond a log-ratio of 20 the ratio is constant, so a rule that may take several steps per batch stops. REINFORCE has no ratio."""
    of = batch("far")
    logp = (of.old_logp + shift).requires_grad_()
    loss(rule, Forward(logp), of, rule.credit(of)).backward()
    assert logp.grad is not None
    assert (logp.grad == 0).all() != rule.updates_once


def test_gspo_warns_of_rounded_log_probabilities() -> None:
    of = batch("rounded", torch.float32)
    now = forward(of, "rounded")
    with pytest.warns(UserWarning, match="bfloat16"):
        GSPO().objective(replace(now, logp=now.logp.bfloat16()), of, GSPO().credit(of))


def test_a_step_is_a_proper_average_of_its_rows() -> None:
    of, index = batch("rows"), torch.tensor([0, 3, 7])
    for name in names("algorithms"):
        whole = load("algorithms", name)().credit(of)
        part = whole.rows(index)
        torch.testing.assert_close(part.weight.sum(), whole.weight.sum(), rtol=1e-14, atol=0)
        torch.testing.assert_close(part.weight / part.weight.sum(), whole.weight[index] / whole.weight[index].sum(), rtol=1e-14, atol=0)


def test_rows_without_weight_stay_without() -> None:
    of = batch("rows", lengths=torch.tensor([0, 0] + [3] * 10))
    part = GRPO().credit(of).rows(torch.tensor([0, 1]))
    assert (part.weight == 0).all()


def test_rows_of_a_batch_keep_what_belongs_to_the_run() -> None:
    of = batch("rows")
    part = of.rows(torch.tensor([5, 2, 1]))
    assert part.limit == of.limit and part.history is of.history
    for name, value in tensors(part).items():
        if name != "history":
            assert torch.equal(value, getattr(of, name)[[5, 2, 1]])
    assert part.group.tolist() == [6, 7, 7]


# A contract that nothing can break proves nothing: each of these rules breaks the ones it names.


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
    scale: Any = torch.ones(1)


@dataclass(frozen=True, kw_only=True)
class SaysItClips(Plain):
    clips: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class KeepsTheMean(Plain):
    def credit(self, batch: Batch) -> Credit:
        return replace(super().credit(batch), advantage=ops.per_action(ops.path_return(batch.reward, batch.mask).nan_to_num(0.0), batch.mask))


@dataclass(frozen=True, kw_only=True)
class LosesDigits(Plain):
    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return (super().surrogate(now, batch, credit) + 1e4) - 1e4


@dataclass(frozen=True, kw_only=True)
class PaysThePadding(Plain):
    def credit(self, batch: Batch) -> Credit:
        plain = super().credit(batch)
        return replace(plain, advantage=plain.advantage + (~batch.mask).to(plain.advantage))


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
]


def broken_by(rule: PolicyGradient) -> set[str]:
    found = set()
    for _, contract in CONTRACTS:
        try:
            contract(rule)
        except Exception:
            found.add(contract.__name__)
    return found


def test_the_mutants_have_a_sound_parent() -> None:
    assert broken_by(Plain()) == set()


@pytest.mark.parametrize(("rule", "expected"), MUTANTS, ids=lambda x: type(x).__name__)
def test_contracts_catch(rule: PolicyGradient, expected: set[str]) -> None:
    assert expected <= broken_by(rule)


def test_every_contract_of_rules_has_a_mutant() -> None:
    general = {"are_frozen", "has_a_summary"}
    assert set().union(*(expected for _, expected in MUTANTS)) == {contract.__name__ for _, contract in CONTRACTS} - general
