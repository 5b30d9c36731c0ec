"""The contracts on whole runs can fail."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest
from torch import Tensor

from algorithms.base import Batch, Credit, Forward
from algorithms.grpo import GRPO
from bench.checks import learning


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
