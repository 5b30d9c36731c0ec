"""Learning from what policies have just done: credit once, then the optimizer steps, for all seeds together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Forward, PolicyGradient
from algorithms.critic import ActorCritic
from bench.chance import number
from bench.control.actor import Actor
from bench.control.paths import Paths, Priced, price
from bench.control.stack import Mover
from bench.control_settings import EpisodeSettings, OnPolicySettings, SegmentSettings
from bench.loops import probes

LOOKED_AT = 4  # optimizer steps of a rollout batch that the probes see, the last among them


@dataclass(frozen=True)
class Seen:
    """One optimizer step of S seeds, before it moved anything."""

    rows: Priced
    logp: Tensor  # (S, b, T)
    entropy: Tensor
    norm: Tensor  # (S,) of the gradient, before clipping


@dataclass(frozen=True)
class Learnt:
    """What a rollout batch taught."""

    whole: Priced
    seen: list[Seen]
    updates: int
    stopped: Tensor  # (S,) optimizer steps in which the policy stood still

    def probes(self, rule: PolicyGradient, settings: OnPolicySettings, row: int) -> dict[str, float]:
        """One seed's diagnostics, as for text; of steps that held none of its actions there is nothing to say."""
        if not self.whole.paths.mask[row].any():
            return {"update/skipped": 1.0}
        seen = []
        for step in self.seen:
            part, credit = step.rows.paths.batch(row), step.rows.credit(row)
            if part.mask.any():
                seen.append(probes.Seen(part, credit, step.logp[row], step.entropy[row], float(step.norm[row])))
        found = probes.of_updates(rule, seen, settings.grad_clip or float("inf")) if seen else {}
        if rule.critic:
            found |= probes.of_values(self.whole.paths.batch(row), self.whole.credit(row))
        return found | ({"update/stopped": float(self.stopped[row])} if getattr(rule, "target_kl", None) is not None else {})


def learn(actor: Actor, mover: Mover, rule: PolicyGradient, settings: OnPolicySettings, paths: Paths, name: str) -> Learnt:
    """Move the actor along `paths`, which carry old log-probabilities and, for a critic, values; `name` seeds the order of rows."""
    whole = price(rule, paths)
    rows = whole.flattened() if rule.critic else whole
    stopped = torch.zeros(len(actor.stack.seeds))
    seen: list[Seen] = []
    orders = list(_orders(rows, settings, rule, actor.stack.seeds, name))
    looked = {len(orders) - 1 - i * len(orders) // LOOKED_AT for i in range(LOOKED_AT)}
    for i, index in enumerate(orders):
        step = _step(actor, mover, rule, rows.rows(index), stopped)
        if i in looked:
            seen.append(step)
    return Learnt(whole, seen, len(orders), stopped)


def _step(actor: Actor, mover: Mover, rule: PolicyGradient, rows: Priced, stopped: Tensor) -> Seen:
    """One optimizer step; `stopped` counts, for each seed, the steps after its policy has gone too far. Seeds without an action here
    stay where they are."""
    paths, (batch, credit) = rows.paths, rows.joined()
    shape = paths.mask.shape
    now = actor.forward(paths.obs.flatten(1, 2), paths.action.flatten(1, 2))
    joined = Forward(*(None if x is None else x.reshape(-1, shape[2]) for x in (now.logp, now.entropy, now.value)))  # type: ignore[arg-type]
    loss = -(credit.weight * rule.objective(joined, batch, credit)).view(shape).sum((1, 2))
    assert now.entropy is not None
    logp, entropy = now.logp.detach().view(shape), now.entropy.detach().reshape(shape)
    target_kl = getattr(rule, "target_kl", None)
    still = ~paths.mask.any(2).any(1)
    if target_kl is not None:
        far = (stopped > 0) | (_distance(logp, paths) > 1.5 * target_kl)
        stopped += far
        still = still | far
    moving = torch.where(still, torch.zeros_like(loss), loss).sum()  # else it would count in the norm by which the critic is clipped
    policy = [name for name in actor.stack.learnt if name != "value"]
    if not isinstance(rule, ActorCritic) or joined.value is None:
        return Seen(rows, logp, entropy, mover.step(policy, moving, still))
    error = rule.value_coef * (credit.weight * rule.value_loss(joined.value, batch, credit)).sum()
    return Seen(rows, logp, entropy, mover.step([*policy, "value"], moving + error, still, ["value"]))


def _distance(logp: Tensor, paths: Paths) -> Tensor:
    """(S,) how far each policy is from the one that acted, in nats per action (k3)."""
    assert paths.old_logp is not None
    delta = ops.log_ratio(logp, paths.old_logp, paths.mask)
    return ops.masked(delta.exp() - 1 - delta, paths.mask).sum((1, 2)) / paths.mask.sum((1, 2)).clamp_min(1)


def _orders(rows: Priced, settings: OnPolicySettings, rule: PolicyGradient, seeds: list[int], name: str) -> Iterator[Tensor | None]:
    """(S, b) row numbers of each optimizer step, each seed's from a generator of its own; None where a step takes all of them."""
    count = rows.weight.shape[1]
    parts = 1
    if isinstance(settings, SegmentSettings):
        parts = -(-count // settings.batch)
    elif isinstance(settings, EpisodeSettings):
        parts = settings.minibatches
    if rule.updates_once:
        parts = 1
    for epoch in range(1 if rule.updates_once else settings.epochs):
        if parts == 1:
            yield None
            continue
        chance = [torch.Generator().manual_seed(number(f"minibatches:{name}:{epoch}:{seed}")) for seed in seeds]
        yield from torch.stack([torch.randperm(count, generator=g) for g in chance]).tensor_split(parts, 1)


def annealed(rule: PolicyGradient, share: float) -> PolicyGradient:
    """The rule with its clip range at this share of its start."""
    names = [name for name in ("clip", "clip_low", "clip_high") if hasattr(rule, name)]
    changed: dict[str, Any] = {name: getattr(rule, name) * share for name in names}
    return rule if share == 1 else replace(rule, **changed)
