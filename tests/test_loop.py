"""The policy-gradient loop: sampling rounds, budgets, probes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pytest
import torch

from algorithms.base import Batch, Credit
from algorithms.dapo import DAPO
from algorithms.grpo import GRPO
from algorithms.reinforce import Reinforce
from algorithms.sapo import SAPO
from algorithms.value import ValueRule
from bench import registry
from bench.config import TrainSettings
from bench.errors import ConfigError
from bench.evaluation import problems
from bench.loops import probes
from bench.loops.progress import Progress
from bench.loops.setup import Plan, learner
from bench.loops.training import train
from bench.models import BASES
from bench.policy import Policy
from bench.record import Record
from bench.rollout import Group
from bench.samplers.base import Completion, Session
from bench.samplers.hf import HF
from bench.verifying import Verifier
from tasks.base import Problem
from tasks.last_digit import LastDigit

TASK = LastDigit()


class Planned(Session):
    """Answers each group as planned: "mixed" is half right, "right" and "wrong" are unanimous; evaluation gets wrong answers.

    Wrong answers differ in length, so that a length penalty alone would tell them apart.
    """

    def __init__(self, policy: Policy, plan: Sequence[str]) -> None:
        self.policy, self.plan = policy, iter(plan)
        self.seeds: list[str] = []

    def sample(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str) -> list[list[Completion]]:
        self.seeds.append(seed)
        training = seed.startswith("train")
        return [self._group(prompt, n, next(self.plan) if training else "wrong") for prompt in prompts]

    def _group(self, prompt: Sequence[int], n: int, kind: str) -> list[Completion]:
        digit = self.policy.decode([prompt[-2]])
        right = f"#### {digit}"
        wrong = [f"#### {(int(digit) + 1) % 10}", "####  "]
        texts = [right if kind == "right" or (kind == "mixed" and i % 2) else wrong[i % 2] for i in range(n)]
        return [self._completion(text) for text in texts]

    def _completion(self, text: str) -> Completion:
        tokens = (*self.policy.encode(text), self.policy.end)
        return Completion(tokens, (-1.0,) * len(tokens), self.policy.decode(tokens), False)

    def refresh(self) -> None:
        return None


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(TASK) as workers:
        yield workers


def started(rule: Any, verifier: Verifier, plan: Sequence[str] | None = None, allowance: int = 10**9, **settings: Any) -> tuple[Any, ...]:
    """A loop on the shipped base model, with its learner and progress."""
    policy = Policy.load(BASES / "last_digit")
    chosen = TrainSettings(**{"prompts": 4, "completions": 4, "eval_problems": 8, "eval_completions": 2, "warmup": 0, **settings})
    learns = learner(rule, policy, chosen, HF(), verifier)
    if plan is not None:
        learns.session = learns.looking = Planned(policy, plan)
    todo = Plan(TASK, problems(TASK, "heldout", 8), chosen, 0, 10**9, allowance)
    progress = Progress()
    return train(learns, todo, progress), learns, progress


def steps(loop: Iterator[Record], count: int) -> list[Record]:
    """The first `count` records after the evaluation at the start."""
    return list(islice(loop, count + 1))[1:]


def test_refill_goes_on_until_the_batch_is_full(verifier: Verifier) -> None:
    """Round 1 keeps two of four groups, round 2 one, round 3 two: one more than needed, which is discarded."""
    plan = ["mixed", "right", "wrong", "mixed", "wrong", "wrong", "mixed", "right", "mixed", "mixed", "right", "right"]
    loop, learns, progress = started(DAPO(), verifier, plan)
    (record,) = steps(loop, 1)
    assert record.samples == record.verifier_calls == 3 * 16  # what was dropped is paid for
    assert record.probes["sampling/rounds"] == 3
    assert record.probes["sampling/kept_frac"] == 5 / 12
    assert record.probes["sampling/oversampling"] == 3
    assert record.probes["sampling/underfilled"] == 0
    assert record.train_score == pytest.approx((5 * 0.5 + 4) / 12)  # over everything sampled
    assert progress.carried == []
    assert len(set(learns.session.seeds)) == len(learns.session.seeds)


def test_surplus_is_carried_where_asked(verifier: Verifier) -> None:
    loop, _, progress = started(DAPO(surplus="carry"), verifier, ["mixed"] * 2 + ["wrong"] * 2 + ["mixed"] * 4 + ["mixed"] * 4)
    first = steps(loop, 1)[0]
    assert first.samples == 32
    assert [type(group) for group in progress.carried] == [Group, Group]
    carried = list(progress.carried)
    assert Progress.from_json(progress.to_json()).carried == carried
    second = next(loop)
    assert second.samples == 48  # two carried groups and one round were enough
    assert len(progress.carried) == 2


def test_rounds_are_capped_and_a_part_batch_trains(verifier: Verifier) -> None:
    loop, _, _ = started(DAPO(max_rounds=2), verifier, ["wrong"] * 7 + ["mixed"])
    (record,) = steps(loop, 1)
    assert record.probes["sampling/rounds"] == 2
    assert record.probes["sampling/underfilled"] == 1
    assert record.updates == 4  # four completions in four minibatches


def test_no_surviving_group_means_no_update(verifier: Verifier) -> None:
    """All-wrong groups whose answers differ in length are dropped although shaped rewards differ."""
    loop, learns, _ = started(DAPO(max_rounds=3), verifier, ["wrong"] * 12)
    before = learns.policy.digest()
    (record,) = steps(loop, 1)
    assert record.probes["update/skipped"] == 1
    assert (record.samples, record.updates) == (48, 0)
    assert learns.policy.digest() == before
    assert "gate" not in record.probes


def test_an_exhausted_rule_may_insist(verifier: Verifier) -> None:
    loop, _, _ = started(DAPO(max_rounds=1, on_exhausted="error"), verifier, ["wrong"] * 4)
    with pytest.raises(ConfigError, match=r"0 of 4 prompts.*max_rounds"):
        steps(loop, 1)


def test_no_round_starts_beyond_the_allowance(verifier: Verifier) -> None:
    loop, _, _ = started(DAPO(), verifier, ["wrong"] * 40, allowance=32)
    (record,) = steps(loop, 1)
    assert record.samples == 32


def test_other_rules_never_resample(verifier: Verifier) -> None:
    loop, _, _ = started(GRPO(), verifier, ["wrong"] * 4)
    (record,) = steps(loop, 1)
    assert record.samples == 16
    assert not any(key.startswith("sampling/") for key in record.probes)
    assert record.probes["group/all_wrong_frac"] == 1
    assert "gate" not in record.probes  # no action has an advantage, so no share of gradient is defined


def test_probes_mean_what_they_say(verifier: Verifier) -> None:
    loop, _, _ = started(GRPO(kl=0.01), verifier)
    (record,) = steps(loop, 1)
    probes = record.probes
    assert probes["rollout/logp_gap_max"] < 1e-5
    assert 0 < probes["entropy/token"] < 3
    assert probes["kl_old/k3"] >= 0
    assert probes["kl_ref/k3"] >= 0
    assert probes["ratio/min"] <= 1 <= probes["ratio/max"]
    assert {"clip/low", "clip/high"} <= probes.keys()


@pytest.mark.parametrize(("dual", "wanted"), [(None, {"high": 0.25, "low": 0.25}), (3.0, {"high": 0.25, "low": 0.25, "dual": 0.25})])
def test_a_dual_clip_is_counted_apart(dual: float | None, wanted: dict[str, float]) -> None:
    """Ratios of 4, 0.5 and 2 with A < 0, and of 4 with A > 0."""
    old, ratio = torch.full((4, 1), -1.0), torch.tensor([[4.0], [0.5], [2.0], [4.0]])
    of = Batch(group=torch.arange(4), reward=torch.zeros(4, 1), mask=torch.ones(4, 1), old_logp=old)
    credit = Credit(torch.tensor([[-1.0], [-1.0], [-1.0], [1.0]]), torch.full((4, 1), 0.25))
    found = probes.of_updates(GRPO(dual_clip=dual), [probes.Seen(of, credit, old + ratio.log(), torch.zeros(4, 1), 0.0)], 1.0)
    assert {name: value for name, value in found.items() if name.startswith("clip/")} == {f"clip/{k}": v for k, v in wanted.items()}


def test_a_probe_without_meaning_is_absent(verifier: Verifier) -> None:
    (soft,) = steps(started(SAPO(), verifier)[0], 1)
    assert "clip/low" not in soft.probes
    assert "kl_ref/k1" not in soft.probes


def test_one_update_rules_take_one_step_with_the_gate_open(verifier: Verifier) -> None:
    (record,) = steps(started(Reinforce(), verifier)[0], 1)
    assert record.updates == 1
    assert record.probes["gate"] == pytest.approx(1, abs=1e-6)
    (capped,) = steps(started(Reinforce(ratio_cap=2.0), verifier, epochs=2)[0], 1)
    assert capped.updates == 8


@pytest.mark.parametrize("name", [n for n in registry.names("algorithms") if not issubclass(registry.load("algorithms", n), ValueRule)])
def test_microbatches_change_nothing_but_rounding(name: str, verifier: Verifier) -> None:
    """Weights are fixed before the split, so accumulation is exact up to the order of float32 sums."""
    rule = registry.load("algorithms", name)()
    (whole,) = steps(started(rule, verifier, minibatches=1)[0], 1)
    (split,) = steps(started(rule, verifier, minibatches=1, microbatch=3)[0], 1)
    assert split.probes["grad/norm"] == pytest.approx(whole.probes["grad/norm"], rel=1e-4)


def test_a_finite_task_that_runs_out_says_so(verifier: Verifier) -> None:
    class Finite(LastDigit):
        def problems(self, split: Any, seed: int) -> Iterator[Problem]:
            return islice(super().problems(split, seed), 2)

    _, learns, _ = started(GRPO(), verifier)
    plan = Plan(Finite(), [], TrainSettings(prompts=2, completions=2, eval_problems=1), 0, 10**9, 10**9)
    ended = train(learns, plan, Progress(step=1))
    next(ended)
    with pytest.raises(ConfigError, match="no more training problems"):
        next(ended)


def test_effective_sample_size_is_the_share_of_actions_that_equal_weights_would_stand_for() -> None:
    """Ratios 1, 2 and 4 weigh as (1 + 2 + 4)^2 / (1 + 4 + 16) = 7/3 actions of three; equal ones, whatever their size, as all."""
    flat = {"old_logp": torch.zeros(3), "entropy": torch.zeros(3), "sequence": torch.zeros(1)}
    for ratios, share in (([1.0, 2.0, 4.0], 49 / 21 / 3), ([3.0, 3.0, 3.0], 1.0)):
        found = probes.divergence(flat | {"delta": torch.tensor(ratios).log()})
        assert found["ratio/ess"] == pytest.approx(share, rel=1e-6)


def test_what_a_rule_trains_on_is_known_in_tokens_too() -> None:
    """Of groups of 2, 6, 10 and 14 tokens it keeps three, of which two fill the batch: 6 + 10 of 32 tokens."""
    problem = Problem("one", "?", "!")
    groups = [Group(problem, (1,), (Completion((0,) * n, (0.0,) * n, "", False),) * 2, ()) for n in (1, 3, 5, 7)]
    found = probes.of_sampling(DAPO(), 2, groups, groups[1:], TrainSettings(prompts=2))
    assert found["sampling/used_tokens_frac"] == 0.5
    assert (found["sampling/kept_frac"], found["sampling/oversampling"]) == (0.75, 2)
    assert probes.of_sampling(DAPO(), 2, groups, [], TrainSettings(prompts=2))["sampling/used_tokens_frac"] == 0


def test_a_rule_that_drops_in_its_only_round_says_so(verifier: Verifier) -> None:
    loop, _, _ = started(DAPO(max_rounds=1), verifier, ["mixed", "wrong", "mixed", "mixed"] + ["mixed"] * 4)
    first, second = steps(loop, 2)
    assert (first.probes["sampling/rounds"], first.probes["sampling/kept_frac"]) == (1, 0.75)
    assert not any(key.startswith("sampling/") for key in second.probes)  # which dropped nothing
