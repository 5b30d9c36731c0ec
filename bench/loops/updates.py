"""One optimizer step of a policy-gradient rule on text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, PolicyGradient
from algorithms.critic import ActorCritic
from bench.config import TrainSettings
from bench.loops.pieces import turns
from bench.loops.setup import Learner, Moved, Plan
from bench.policy import Policy
from bench.ranks import Ranks
from bench.rollout import Group
from bench.sharding import clip
from tasks.base import generator

Texts = tuple[list[list[int]], list[list[int]]]  # prompts and completions as token ids


@dataclass(frozen=True)
class Rows:
    """The b paths of one optimizer step: row i is `completions[i]` after `prompts[i]`."""

    batch: Batch
    credit: Credit
    prompts: Sequence[Sequence[int]]
    completions: Sequence[Sequence[int]]

    def parts(self, settings: TrainSettings, ranks: Ranks) -> Iterator[tuple[Tensor, Rows]]:
        """The paths that go forward together in this process, with the numbers of those that count; the others have weight 0.

        Weights stay as they are, so the split changes nothing but memory and who computes.
        """
        for part, counts in turns([len(p) + len(c) for p, c in zip(self.prompts, self.completions, strict=True)], settings, ranks):
            index, held = part.to(self.batch.mask.device), part.tolist()
            target = None if self.credit.target is None else self.credit.target[index]
            weight = self.credit.weight[index] * counts
            credit = replace(self.credit, advantage=self.credit.advantage[index], weight=weight, target=target)
            yield (
                index[: len(index) * counts],
                Rows(self.batch.rows(index), credit, [self.prompts[i] for i in held], [self.completions[i] for i in held]),
            )

    @property
    def width(self) -> int:
        return self.batch.mask.shape[1]


@dataclass(frozen=True)
class Step:
    """What an optimizer step saw before it moved the weights."""

    grad_norm: float  # global norm, before clipping
    logp: Tensor  # (b, T) of the policy that was differentiated, without gradient
    entropy: Tensor  # (b, T)
    moved: bool  # False where the policy had gone too far, and only the critic stepped


def update(
    models: Moved, rule: PolicyGradient, settings: TrainSettings, rows: Rows, shown: Texts | None = None, *, policy: bool = True
) -> Step | None:
    """Descend -(weight * objective).sum(), and beside it the critic's regression; None where the policy has no part in it.

    `shown` are demonstrations whose log-likelihood is raised along.
    """
    shared = models.critic is models.policy
    step = _policy_step(models, rule, settings, rows, shown, shared) if policy else None
    if isinstance(rule, ActorCritic) and models.critic is not None and not (shared and step is not None and step.moved):
        _value_step(models, models.critic, rule, settings, rows)
    return step


def _policy_step(models: Moved, rule: PolicyGradient, settings: TrainSettings, rows: Rows, shown: Texts | None, shared: bool) -> Step:
    models.optimizer.zero_grad(set_to_none=True)
    ranks = models.policy.ranks
    logp, entropy = torch.zeros_like(rows.batch.old_logp), torch.zeros_like(rows.batch.old_logp)
    for index, part in rows.parts(settings, ranks):
        now = models.policy.forward(part.prompts, part.completions, width=rows.width, entropy_gradient=rule.entropy_bonus > 0)
        loss = -(part.credit.weight * rule.objective(now, part.batch, part.credit)).sum()
        if shared and isinstance(rule, ActorCritic) and now.value is not None:
            loss = loss + rule.value_coef * (part.credit.weight * rule.value_loss(now.value, part.batch, part.credit)).sum()
        loss.backward()
        assert now.entropy is not None
        logp[index], entropy[index] = now.logp.detach()[: len(index)], now.entropy.detach()[: len(index)]
    if shown is not None:
        likelihood = models.policy.forward(*shown).logp.sum() / sum(map(len, shown[1]))
        (-settings.ptx_coef / ranks.size * likelihood).backward()  # by every process, and summed
    norm = clip(list(models.policy.parameters()), settings.grad_clip)
    logp, entropy = ranks.summed(logp), ranks.summed(entropy)
    moved = ranks.agreed(not _too_far(rule, logp, rows.batch))
    if moved:
        models.optimizer.step()
    return Step(norm, logp, entropy, moved)


def _too_far(rule: PolicyGradient, logp: Tensor, batch: Batch) -> bool:
    """Whether the policy has left the one that sampled by more than 1.5 times what the rule allows, in nats per token (k3)."""
    allowed: float | None = getattr(rule, "target_kl", None)
    if allowed is None:
        return False
    delta = ops.log_ratio(logp, batch.old_logp, batch.mask)[batch.mask]
    return float((delta.exp() - 1 - delta).mean()) > 1.5 * allowed


def _value_step(models: Moved, critic: Policy, rule: ActorCritic, settings: TrainSettings, rows: Rows) -> None:
    """The critic's regression by itself. On a trunk that is the policy's it moves the head alone: weights without gradient stay."""
    optimizer = models.optimizer if models.critic_optimizer is None else models.critic_optimizer
    head = critic.value_head if critic is models.policy else None
    moved = list(critic.parameters() if head is None else head.parameters())
    optimizer.zero_grad(set_to_none=True)
    for _, part in rows.parts(settings, critic.ranks):
        value = critic.values(part.prompts, part.completions, width=rows.width)
        error = rule.value_loss(value, part.batch, part.credit)
        loss = rule.value_coef * (part.credit.weight * error).sum()
        loss.backward(inputs=moved if critic.root is None else None)
    for parameter in set(critic.parameters()) - set(moved):  # of weights in pieces autograd cannot be told to leave some out
        parameter.grad = None
    clip(moved, settings.grad_clip)
    optimizer.step()


def warm(learner: Learner, settings: TrainSettings, updates: int) -> None:
    """Set every learning rate for the optimizer step after `updates` others: a linear warm-up, then constant."""
    share = min(1.0, (updates + 1) / max(1, settings.warmup))
    for optimizer, _ in learner.optimizers().values():
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * share


def demonstrations(policy: Policy, plan: Plan, step: int, groups: Sequence[Group]) -> Iterator[Texts]:
    """Demonstrated completions of this batch's prompts, other ones for each optimizer step; none where the settings ask for none."""
    rows = plan.settings.ptx_rows if plan.settings.ptx_coef > 0 else 0
    for update in count() if rows else ():
        random = generator("demonstrations", plan.seed, step, update)
        chosen = random.choices(groups, k=rows)
        texts = [plan.task.demonstration(group.problem, random) for group in chosen]
        yield [list(group.prompt) for group in chosen], [[*policy.plain(text), policy.end] for text in texts]
