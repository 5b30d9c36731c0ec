"""The contracts on whole runs and on samplers hold for what ships, and can fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from torch import Tensor

from algorithms.base import Batch, Credit, Forward
from algorithms.grpo import GRPO
from bench.checks import learning, samplers
from bench.policy import Policy
from bench.samplers.base import Completion
from bench.samplers.hf import HF, HFSession


@dataclass(frozen=True, kw_only=True)
class Backwards(GRPO):
    """Learns from its mistakes, to make more of them."""

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return -super().surrogate(now, batch, credit)


@dataclass(frozen=True, kw_only=True)
class Moody(GRPO):
    """Each call is a little stronger than the one before."""

    calls: ClassVar[Iterator[int]] = itertools.count(1)

    def surrogate(self, now: Forward, batch: Batch, credit: Credit) -> Tensor:
        return super().surrogate(now, batch, credit) * (1 + next(self.calls) / 100)


def test_a_rule_that_does_not_learn_is_found() -> None:
    with pytest.raises(AssertionError, match="the mean verdict goes from"):
        learning.learns_last_digit(Backwards())


def test_a_rule_that_keeps_state_is_found() -> None:
    with pytest.raises(AssertionError, match="two runs from the same seed differ"):
        learning.repeats_its_curve(Moody())


@dataclass(frozen=True, kw_only=True)
class Wrong(HF):
    """Misreports what it did, or does it wrong, in one of four ways."""

    how: str

    def open(self, policy: Policy) -> Any:
        return Misreporting(policy, self.how)


SESSIONS = itertools.count()


class Misreporting(HFSession):
    def __init__(self, policy: Policy, how: str) -> None:
        super().__init__(policy)
        self.how, self.calls = how, itertools.count()

    def sample(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str) -> list[list[Completion]]:
        number = {"seed": SESSIONS, "state": self.calls}.get(self.how, [0])
        groups = super().sample(prompts, n, limit, f"{seed}{next(iter(number))}")
        change = {"logp": lambda c: {"logp": tuple(x - 0.01 for x in c.logp)}, "truncated": lambda c: {"truncated": not c.truncated}}
        return [[replace(c, **change.get(self.how, lambda c: {})(c)) for c in group] for group in groups]


@pytest.mark.parametrize(
    ("how", "contract", "says"),
    [
        ("truncated", samplers.completions_are_whole, "marked truncated"),
        ("logp", samplers.log_probabilities_are_the_policys, "differ from the training forward"),
        ("seed", samplers.seeds_decide, "two sessions with one seed differ"),
        ("state", samplers.seeds_decide, "a session that has sampled before differs"),
    ],
)
def test_a_sampler_that_misreports_is_found(how: str, contract: Callable[[Any], None], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        contract(Wrong(how=how))
