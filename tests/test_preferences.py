"""Rules on pairs: their contracts can fail, DPO at its special points, and what the loop does with pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms.base import Batch
from algorithms.dpo import DPO
from algorithms.preference import Preference, Side
from bench.bases import BASES
from bench.checks import preferences
from bench.checks.preferences import judged, pair, slopes
from bench.config import TrainSettings
from bench.evaluation import problems
from bench.loops import probes
from bench.loops.progress import Progress
from bench.loops.setup import Learner, Plan, learner
from bench.loops.training import train
from bench.policy import Policy
from bench.record import Record
from bench.samplers.hf import HF
from bench.verifying import Verifier
from tasks.last_digit import LastDigit

TASK = LastDigit()


@dataclass(frozen=True, kw_only=True)
class MixesPrompts(DPO):
    def pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return super().pairs(replace(batch, group=torch.zeros_like(batch.group)))


@dataclass(frozen=True, kw_only=True)
class PairsByPosition(DPO):
    def pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return super().pairs(replace(batch, chance=torch.linspace(0, 0.9, len(batch.group))))


@dataclass(frozen=True, kw_only=True)
class ForgetsTheReference(DPO):
    def margin(self, better: Side, worse: Side) -> tuple[Tensor, Tensor]:
        plain = [replace(s, ref_logp=torch.zeros_like(s.ref_logp)) for s in (better, worse)]
        return super().margin(plain[0], plain[1])


@dataclass(frozen=True, kw_only=True)
class ExchangesTheSides(DPO):
    def loss(self, better: Side, worse: Side) -> Tensor:
        return super().loss(worse, better)


@dataclass(frozen=True, kw_only=True)
class MultipliesByTheMask(DPO):
    def _reward(self, side: Side) -> Tensor:
        return self.beta * ((side.logp - side.ref_logp) * side.mask).sum(-1)


@dataclass(frozen=True, kw_only=True)
class DropsTheGradient(DPO):
    def loss(self, better: Side, worse: Side) -> Tensor:
        gap = super().loss(better, worse)
        return gap.detach() + 0.5 * (gap - gap.detach())


@dataclass(frozen=True, kw_only=True)
class Overflows(DPO):
    def loss(self, better: Side, worse: Side) -> Tensor:
        return -(1 / (1 + (self._reward(worse) - self._reward(better)).exp())).log()


@dataclass(frozen=True, kw_only=True)
class IgnoresTheMargin(DPO):
    def pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return super(IgnoresTheMargin, replace(self, min_margin=0.0)).pairs(batch)


@dataclass(frozen=True, kw_only=True)
class WidensTheMargin(DPO):
    def pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return super(WidensTheMargin, replace(self, min_margin=1.5 * self.min_margin)).pairs(batch)


MUTANTS: list[tuple[Preference, set[str]]] = [
    (DPO(), set()),
    (MixesPrompts(), {"pairs_are_comparisons"}),
    (PairsByPosition(), {"pairs_ignore_order"}),
    (IgnoresTheMargin(), {"close_rewards_make_no_pair"}),
    (WidensTheMargin(), {"close_rewards_make_no_pair"}),
    (ForgetsTheReference(), {"the_reference_is_indifferent"}),
    (ExchangesTheSides(), {"starts_in_the_right_direction"}),
    (MultipliesByTheMask(), {"padding_is_ignored"}),
    (DropsTheGradient(), {"slopes_agree_with_differences"}),
    (Overflows(), {"extremes_stay_finite"}),
]


@pytest.mark.parametrize(("rule", "expected"), MUTANTS, ids=lambda x: type(x).__name__)
def test_contracts_catch(rule: Preference, expected: set[str]) -> None:
    found = set()
    for _, contract in preferences.CONTRACTS:
        try:
            contract(rule)
        except AssertionError:
            found.add(contract.__name__)
    assert expected <= found and bool(expected) == bool(found)


def test_every_contract_has_a_mutant() -> None:
    assert set().union(*(expected for _, expected in MUTANTS)) == {contract.__name__ for _, contract in preferences.CONTRACTS}


def at_the_reference() -> tuple[Side, Side]:
    better, worse = (replace(s, logp=s.ref_logp.clone().requires_grad_()) for s in pair("reference"))
    return better, worse


def test_dpo_at_the_reference_is_log_two_with_half_the_weight() -> None:
    better, worse = at_the_reference()
    torch.testing.assert_close(DPO().loss(better, worse), torch.full((12,), math.log(2), dtype=torch.float64), rtol=1e-15, atol=0)
    up, down = slopes(DPO(beta=0.3), better, worse)
    torch.testing.assert_close(up[better.mask], torch.full_like(up[better.mask], -0.15), rtol=1e-14, atol=0)
    torch.testing.assert_close(down[worse.mask], torch.full_like(down[worse.mask], 0.15), rtol=1e-14, atol=0)


def test_far_from_the_reference_its_distance_stays_finite() -> None:
    """Where the rule's own terms do."""
    of = judged("far")
    assert of.ref_logp is not None
    found = probes.divergence(probes.of_rows(of, of.ref_logp - 200.0, torch.zeros_like(of.old_logp)))
    assert found["kl_ref/k1"] == pytest.approx(-200)
    assert found["kl_ref/k3"] == pytest.approx(math.exp(20) - 21)


def test_what_both_completions_share_cancels() -> None:
    better, worse = pair("shared")
    wanted = DPO().loss(better, worse)
    constant = torch.zeros_like(better.logp)
    constant[:, 0] = 3.0  # the first token of every completion is valid
    moved = [replace(s, logp=s.logp + constant) for s in (better, worse)]
    torch.testing.assert_close(DPO().loss(moved[0], moved[1]), wanted, rtol=1e-12, atol=0)


def test_dpo_by_hand() -> None:
    """Log-ratios of 0.5 + 0.1 and of -0.2, beta 2: a margin of 1.6."""
    mask = torch.tensor([[True, True], [True, False]])
    ref = torch.full((2, 2), -1.0, dtype=torch.float64)
    logp = ref + torch.tensor([[0.5, 0.1], [-0.2, 9.0]], dtype=torch.float64)
    better, worse = (Side(logp[i : i + 1], ref[i : i + 1], mask[i : i + 1]) for i in (0, 1))
    rule = DPO(beta=2.0)
    assert [float(x) for x in rule.margin(better, worse)] == pytest.approx([1.2, -0.4])
    plain, flipped = math.log1p(math.exp(-1.6)), math.log1p(math.exp(1.6))
    assert float(rule.loss(better, worse)) == pytest.approx(plain)
    assert float(DPO(beta=2.0, label_smoothing=0.1).loss(better, worse)) == pytest.approx(0.9 * plain + 0.1 * flipped)
    assert float(DPO(beta=2.0, per_token=True).loss(better, worse)) == pytest.approx(math.log1p(math.exp(-1.0)))
    assert float(DPO(beta=2.0, sft_coef=0.5).loss(better, worse)) == pytest.approx(plain + 0.5 * (1.4 / 2))


def graded(rewards: list[float], sizes: list[int]) -> Batch:
    of = judged("graded")
    group = torch.tensor([g for g, size in enumerate(sizes) for _ in range(size)])
    rows = of.rows(torch.arange(len(rewards)))
    return replace(rows, group=group).repaid(torch.tensor(rewards, dtype=torch.float64))


def test_matchings_by_hand() -> None:
    """Two right of four; three grades; no disagreement."""
    of = graded([1, 0, 1, 0, 0.2, 0.5, 0.9, 1, 1], [4, 3, 2])
    every = {(int(b), int(w)) for b, w in zip(*DPO(matching="all").pairs(of), strict=True)}
    assert every == {(0, 1), (0, 3), (2, 1), (2, 3), (5, 4), (6, 4), (6, 5)}
    extremes = [x.tolist() for x in DPO(matching="best_worst").pairs(of)]
    assert extremes == [[0, 6], [1, 4]]
    far = [x.tolist() for x in DPO(matching="best_worst", min_margin=0.8).pairs(of)]
    assert far == [[0], [1]]
    random = {(int(b), int(w)) for b, w in zip(*DPO().pairs(of), strict=True)}
    assert random < every and len(random) == 3  # two of the first prompt, one of the second


def test_random_matching_is_random() -> None:
    of = graded([1, 1, 1, 1, 0, 0, 0, 0], [8])
    seen = set()
    for n in range(20):
        chance = torch.rand(8, generator=torch.Generator().manual_seed(n))
        seen.add(tuple(sorted((int(b), int(w)) for b, w in zip(*DPO().pairs(replace(of, chance=chance)), strict=True))))
        assert len(seen) <= n + 1
    assert len(seen) > 5


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


def same(a: Policy, b: Policy) -> bool:
    return all(torch.equal(value, b.tensors()[name]) for name, value in a.tensors().items())


def test_pairs_are_counted_and_skipped_prompts_too(verifier: Verifier) -> None:
    (record,), _ = run(DPO(), verifier, 1)
    probes = record.probes
    unanimous = probes["group/all_correct_frac"] + probes["group/all_wrong_frac"]
    assert probes["pairs/skipped_frac"] == pytest.approx(unanimous)
    assert 8 * (1 - unanimous) <= probes["pairs/count"] <= 2 * 8 * (1 - unanimous)
    assert record.samples == 32  # the same budget as any other rule's batch
    assert "gate" not in probes and "adv/mean" not in probes


def test_the_first_step_starts_at_the_reference(verifier: Verifier) -> None:
    (record,), _ = run(DPO(), verifier, 1, minibatches=1)
    assert record.probes["pairs/loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert record.probes["pairs/weight_mean"] == pytest.approx(0.5, abs=1e-5)
    assert record.probes["kl_ref/k3"] == pytest.approx(0, abs=1e-6)


def test_microbatches_make_the_same_step(verifier: Verifier) -> None:
    for matching in ("random", "all"):
        (whole,), _ = run(DPO(matching=matching), verifier, 1, minibatches=1)
        (split,), _ = run(DPO(matching=matching), verifier, 1, minibatches=1, microbatch=3)
        assert split.probes["grad/norm"] == pytest.approx(whole.probes["grad/norm"], rel=1e-4)


def test_offline_pairs_come_from_the_start_model(verifier: Verifier) -> None:
    _, learns = run(DPO(sampling="offline"), verifier, 3)
    assert same(learns.behaviour, Policy.load(BASES / "last_digit"))
    assert not same(learns.policy, learns.behaviour)
    assert sorted(learns.weights()) == ["model", "sampling"]


def test_iterative_sampling_is_renewed_every_so_often(verifier: Verifier) -> None:
    rule = DPO(sampling="iterative", every=2)
    _, before = run(rule, verifier, 1)
    assert same(before.behaviour, Policy.load(BASES / "last_digit")) and not same(before.policy, before.behaviour)
    _, at = run(rule, verifier, 2)
    assert same(at.policy, at.behaviour)
    _, after = run(rule, verifier, 3)
    assert same(after.behaviour, at.policy) and not same(after.policy, after.behaviour)


def test_the_reference_may_be_the_policy_that_sampled(verifier: Verifier) -> None:
    records, _ = run(DPO(reference_policy="sampling"), verifier, 4, minibatches=1, lr=1e-3)
    assert all(r.probes["pairs/loss"] == pytest.approx(math.log(2), abs=1e-4) for r in records)
    records, _ = run(DPO(), verifier, 4, minibatches=1, lr=1e-3)
    assert records[-1].probes["kl_ref/k3"] > 1e-4


def test_the_distance_to_the_start_is_to_the_start_whatever_the_reference(verifier: Verifier) -> None:
    """Nothing is known of it where the start model is not kept."""
    rule = DPO(reference_policy="sampling")
    records, learns = run(rule, verifier, 4, minibatches=1, lr=1e-3)
    assert learns.reference is None and not any(name.startswith("kl_ref/") for r in records for name in r.probes)
    measured, learns = run(rule, verifier, 4, minibatches=1, lr=1e-3, measure_kl=True)
    assert learns.reference is not None and same(learns.reference, Policy.load(BASES / "last_digit"))
    assert measured[-1].probes["kl_ref/k3"] > 1e-4 > measured[-1].probes["kl_old/k3"]
    assert [r.probes["pairs/loss"] for r in measured] == [r.probes["pairs/loss"] for r in records]
