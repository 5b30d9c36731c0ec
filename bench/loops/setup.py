"""What a policy-gradient loop works with and works towards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from algorithms.base import PolicyGradient
from bench.config import TrainSettings
from bench.policy import Policy
from bench.samplers.base import Session
from bench.verifying import Verifier
from tasks.base import Problem, TextTask


@dataclass
class Learner:
    """What training moves, with the tools it works with."""

    rule: PolicyGradient
    policy: Policy
    optimizer: torch.optim.Optimizer
    reference: Policy | None  # frozen, where the rule needs one
    session: Session
    verifier: Verifier
    exact: bool  # the sampler's log-probabilities are the trainer's own


@dataclass(frozen=True)
class Plan:
    """What to train on and when to look. `allowance` is the number of samples after which no further round is drawn in a step."""

    task: TextTask
    held_out: Sequence[Problem]
    settings: TrainSettings
    seed: int
    eval_every: int  # samples
    allowance: int

    @property
    def limit(self) -> int:
        """Generation cap in tokens."""
        return self.settings.limit or self.task.limit
