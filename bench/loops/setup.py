"""What a training loop works with and works towards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch.optim import Optimizer

from algorithms.base import Rule
from algorithms.preference import Preference
from bench.config import TrainSettings
from bench.loops.optimizers import optimizer
from bench.policy import Policy
from bench.reward_model import RewardModel
from bench.rollout import Group, collect
from bench.samplers.base import Sampler, Session
from bench.verifying import Verifier
from tasks.base import Problem, TextTask


@dataclass(kw_only=True)
class Moved:
    """What optimizer steps move."""

    policy: Policy
    optimizer: Optimizer
    critic: Policy | None = None  # a trunk of its own with a value head; the policy itself where they share one
    critic_optimizer: Optimizer | None = None  # where the critic has a trunk of its own


@dataclass(kw_only=True)
class Learner(Moved):
    """What training moves, with the tools it works with. Made by `learner`."""

    rule: Rule
    session: Session  # samples for training, from `behaviour`
    looking: Session  # samples for evaluation, from `policy`
    verifier: Verifier
    exact: bool  # the sampler's log-probabilities are the trainer's own
    behaviour: Policy  # the policy, or the copy that samples in its place
    reference: Policy | None = None  # frozen, where the rule needs one
    reward_model: RewardModel | None = None  # what training is paid by, in place of the verifier

    def collect(self, problems: Sequence[Problem], n: int, limit: int, seed: str) -> tuple[Group, ...]:
        """n completions of each problem for training, judged by the verifier and, where there is one, paid by the reward model."""
        groups = collect(self.behaviour, self.session, self.verifier, problems, n, limit, seed)
        return groups if self.reward_model is None else self.reward_model.paid(groups)

    def weights(self) -> dict[str, Policy]:
        """Every model that changes, by the name it is saved under."""
        found = {"model": self.policy}
        if self.critic is not None and self.critic is not self.policy:
            found["critic"] = self.critic
        if self.behaviour is not self.policy:
            found["sampling"] = self.behaviour
        return found

    def optimizers(self) -> dict[str, tuple[Optimizer, Policy]]:
        """Every optimizer with what it moves, by the name it is saved under."""
        found = {"optimizer": (self.optimizer, self.policy)}
        if self.critic_optimizer is not None and self.critic is not None:
            found["critic_optimizer"] = (self.critic_optimizer, self.critic)
        return found

    def close(self) -> None:
        """Give back what the sessions and the verifier hold."""
        self.session.close()
        self.looking.close()
        self.verifier.close()


def learner(rule: Rule, policy: Policy, settings: TrainSettings, sampler: Sampler, verifier: Verifier) -> Learner:
    """Everything a rule needs, built around a start policy."""
    critic = critic_optimizer = None
    if rule.critic:
        critic = policy = policy.with_values() if settings.shared_trunk else policy
        if not settings.shared_trunk:
            critic = policy.copy().with_values()
            critic_optimizer = optimizer(critic, settings.critic_lr, settings.critic_lr, settings)
    apart = isinstance(rule, Preference) and rule.sampling != "online"
    behaviour = policy.copy().frozen() if apart else policy
    looking = sampler.open(policy)
    return Learner(
        rule=rule,
        policy=policy,
        optimizer=optimizer(policy, settings.lr, settings.critic_lr, settings),
        session=sampler.open(behaviour) if apart else looking,
        looking=looking,
        verifier=verifier,
        exact=sampler.exact and policy.exact,
        behaviour=behaviour,
        reference=policy.reference() if rule.reference or settings.measure_kl else None,
        critic=critic,
        critic_optimizer=critic_optimizer,
    )


@dataclass(frozen=True)
class Plan:
    """What to train on and when to look. `allowance` is the number of samples after which no further round is drawn in a step, and at
    which a last look is due."""

    task: TextTask
    held_out: Sequence[Problem]
    settings: TrainSettings
    seed: int
    eval_every: int  # samples
    allowance: int

    @property
    def limit(self) -> int:
        """Generation cap in tokens."""
        return self.settings.limit or self.task.cap
