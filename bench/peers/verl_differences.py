"""Where verl differs from our rules on purpose, each place shown by a number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Forward
from bench.checks import batches
from bench.peers import Agreement, verl
from bench.peers.compared import difference, gap, largest, questions
from bench.peers.verl_rules import PATHS, TOKENS
from bench.registry import load


def ours(name: str, of: Batch, now: Forward, **settings: Any) -> Tensor:
    """() our loss."""
    return batches.step(load("algorithms", name)(**settings), now, of)[0]


def grpo() -> Iterator[Agreement]:
    """The clip that is always on, its counts, and groups in which nothing can be compared."""
    always, none, counts, counted = [], [], [], []
    for of, now in questions(spread=1.0, empty=True):
        advantage = verl.group_advantage(load("algorithms", "grpo")(), of)
        standard = verl.policy_loss("vanilla", of, now, advantage, PATHS, clip_ratio_c=verl.actor_default("clip_ratio_c"))
        always.append(gap(standard, ours("grpo", of, now)))
        none.append(gap(standard, ours("grpo", of, now, dual_clip=3.0)))
        plain = verl.policy_loss("vanilla", of, now, advantage, PATHS)
        rule = load("algorithms", "grpo")()
        credit = rule.credit(of)
        lengths = of.mask.sum(-1, keepdim=True).to(now.logp)
        weight = credit.weight * lengths / (lengths + 1e-8)
        counts.append(gap(plain, batches.loss(rule, now, of, credit)))
        counted.append(gap(plain, -(weight * rule.objective(now, of, credit)).sum()))
    yield difference("grpo", "loss", "dual_clip=None", largest(always), "its dual clip is always on, at clip_ratio_c = 3 unless set")
    yield difference("grpo", "loss", "dual_clip=3.0", largest(none), "agrees once ours is set to that", most=2e-8)
    yield difference("grpo", "loss", "defaults", largest(counts), "it adds 1e-8 to each path's count of tokens", least=1e-12, most=2e-8)
    yield difference("grpo", "loss", "defaults", largest(counted), "agrees to rounding once 1e-8 is added to our counts", most=1e-14)
    yield from groups()


def groups() -> Iterator[Agreement]:
    """Groups that have nothing to teach, where its advantages are not 0."""
    note = "float32: seven rewards of 0.7 and std_eps = 1e-6 give every path an advantage, ours exactly 0"
    yield difference("grpo", "advantage", "std_eps=1e-06", _silent(torch.full((7,), 0.7), torch.zeros(7)), note)
    note = "a group of one gets its raw reward as advantage, ours 0"
    yield difference("grpo", "advantage", "std_eps=1e-06", _silent(torch.tensor([0.7, 0.3]), torch.arange(2)), note)


def _silent(reward: Tensor, group: Tensor) -> float:
    shape = reward.unsqueeze(-1)
    of = Batch(group=group.long(), reward=shape, mask=torch.ones_like(shape), old_logp=-torch.ones_like(shape))
    rule = load("algorithms", "grpo")(std_eps=1e-6)
    return gap(rule.credit(of).advantage, verl.group_advantage(rule, of))


def gspo() -> Iterator[Agreement]:
    """The average that its actor asks for unless told otherwise."""
    mode, apart = verl.actor_default("loss_agg_mode"), []
    for of, now in questions(empty=True):
        advantage = verl.group_advantage(load("algorithms", "gspo")(), of)
        found = verl.policy_loss("gspo", of, now, advantage, mode, clip_ratio_low=0.05, clip_ratio_high=0.08)
        apart.append(gap(found, ours("gspo", of, now, clip_low=0.05, clip_high=0.08)))
    note = f"its actor's loss_agg_mode is {mode} unless set, which weighs paths by their length; seq-mean-token-mean is GSPO"
    yield difference("gspo", "loss", "clip_low=0.05, clip_high=0.08", largest(apart), note)


def sapo() -> Iterator[Agreement]:
    """A setting without effect."""
    apart = []
    for of, now in questions(empty=True):
        advantage = verl.group_advantage(load("algorithms", "sapo")(), of)
        apart.append(gap(*(verl.policy_loss("sapo", of, now, advantage, mode) for mode in (PATHS, TOKENS))))
    yield difference(
        "sapo", "loss", "token-mean against seq-mean-token-mean", largest(apart), "its loss_agg_mode has no effect here", most=0.0
    )


def divergence() -> Iterator[Agreement]:
    """The bound on one estimator."""
    reference, now = torch.zeros(1, 1).double(), torch.full((1, 1), -4.0).double()
    mask = torch.ones(1, 1).bool()
    mine, theirs = ops.kl_value("k3", now, reference, mask), verl.core().kl_penalty(now, reference, "k3")
    yield difference("kl", "value", "log-ratio of -4", gap(mine, theirs), "k3 is held within +-10, and has no gradient there", least=1.0)
    yield difference("kl", "value", "log-ratio of -4", gap(mine.clamp(-10, 10), theirs), "agrees once ours is held so", most=1e-12)


def bootstrap() -> Iterator[Agreement]:
    """Paths that a limit cut."""
    apart = []
    rule = load("algorithms", "ppo")()
    for of, _ in questions():
        assert of.old_value is not None
        last = of.mask & (of.mask.cumsum(-1) == of.mask.sum(-1, keepdim=True))
        cut = replace(of, bootstrap=ops.masked(of.old_value, last & (of.mask.sum(-1, keepdim=True) == of.limit)))
        apart.append(gap(rule.credit(cut).target, ops.masked(verl.generalised(rule, cut)[1], of.mask)))
    yield difference(
        "ppo", "target", "Batch.bootstrap given", largest(apart), "a path cut by the limit is taken to have ended: no bootstrap value"
    )


CASES = {"grpo": grpo, "gspo": gspo, "sapo": sapo, "ppo": bootstrap, "kl": divergence}
