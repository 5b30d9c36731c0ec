"""Diagnostics with one definition for every rule. A probe without meaning for a rule is absent, never 0.

Means over tokens weigh every valid token of the step alike; "old" is the policy that sampled, "ref" the frozen reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Credit, Forward, PolicyGradient, Rule
from bench.config import TrainSettings
from bench.errors import DivergedError
from bench.rollout import Group


@dataclass(frozen=True)
class Seen:
    """What one optimizer step saw, before it stepped; log-probabilities and entropies without gradient."""

    batch: Batch
    credit: Credit
    logp: Tensor  # (b, T)
    entropy: Tensor  # (b, T)
    grad_norm: float  # before clipping


def gate(rule: PolicyGradient, now: Forward, batch: Batch, credit: Credit) -> Tensor:
    """(B, T) slope of the rule's surrogate along log pi, over that of the plain policy gradient: 1 open, 0 shut, NaN where A = 0.

    By autograd on the (B, T) log-probabilities alone. With it "gate" means the same under token clips, sequence clips and soft gates.
    """
    logp = now.logp.detach().clone().requires_grad_()
    surrogate = rule.surrogate(replace(now, logp=logp), batch, credit)
    (slope,) = torch.autograd.grad((credit.weight * surrogate).sum(), logp)
    plain = credit.weight * credit.advantage
    return torch.where(plain != 0, slope / plain, torch.full_like(plain, math.nan))


def of_updates(rule: PolicyGradient, seen: Sequence[Seen], grad_clip: float) -> dict[str, float]:
    """Probes of one rollout batch's optimizer steps: entropy, divergence, ratios, gate, gradient."""
    of = joined([_of_update(rule, s) for s in seen])
    return divergence(of) | _gates(rule, of) | _credit(of) | norms([s.grad_norm for s in seen], grad_clip)


def check(found: dict[str, float], step: int, rates: str = "train.lr", seed: int | None = None) -> None:
    """Raises DivergedError where a probe of this step is not finite; the remedy is to lower `rates`. `seed`: of training
    beside others."""
    who = "training" if seed is None else f"seed {seed}"
    for name, value in found.items():
        if not math.isfinite(value):
            raise DivergedError(f"{who} diverged at step {step} ({name} is {value:g}); lower {rates}", seed)


def joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One tensor for each key, from parts that have the same keys."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def norms(each: Sequence[float], grad_clip: float) -> dict[str, float]:
    """Mean global gradient norm before clipping, and the share of optimizer steps that were clipped."""
    return {"grad/norm": sum(each) / len(each), "grad/clipped": sum(norm > grad_clip for norm in each) / len(each)}


def of_values(batch: Batch, credit: Credit) -> dict[str, float]:
    """How well the critic foresaw the returns it is about to learn from; the share explained is undefined where they do not vary."""
    if batch.old_value is None or credit.target is None or not batch.mask.any():
        return {}
    value, target = batch.old_value[batch.mask], credit.target[batch.mask]
    found = {"value/mean": float(value.mean()), "value/loss": float((value - target).square().mean() / 2)}
    spread = float(target.var(correction=0))
    return found | ({"value/explained_var": 1 - float((target - value).var(correction=0)) / spread} if spread > 0 else {})


def _of_update(rule: PolicyGradient, seen: Seen) -> dict[str, Tensor]:
    """Flat tensors over the valid tokens of one step, and over its paths."""
    batch, credit = seen.batch, seen.credit
    own = {"advantage": credit.advantage, "weight": credit.weight, "gate": gate(rule, Forward(seen.logp, seen.entropy), batch, credit)}
    return of_rows(batch, seen.logp, seen.entropy) | {key: value[batch.mask] for key, value in own.items()}


def of_rows(batch: Batch, logp: Tensor, entropy: Tensor) -> dict[str, Tensor]:
    """What `divergence` joins and reads: flat tensors over the valid tokens of (b, T) rows, and over their paths."""
    mask = batch.mask
    found = {"delta": ops.log_ratio(logp, batch.old_logp, mask), "old_logp": batch.old_logp, "entropy": entropy}
    if batch.ref_logp is not None:
        found |= {f"ref_{name}": ops.kl_value(name, logp, batch.ref_logp, mask) for name in ("k1", "k3")}
    flat = {key: value[mask] for key, value in found.items()}
    flat["sequence"] = ops.sequence_log_ratio(logp, batch.old_logp, mask)[mask.any(-1), 0]
    return flat


def divergence(of: dict[str, Tensor]) -> dict[str, float]:
    """Entropy, ratios and distances to the policy that sampled and to the reference, over everything in `of`."""
    delta, sequence = of["delta"], of["sequence"]
    ratio = delta.exp()
    found = {
        "entropy/token": of["entropy"].mean(),
        "entropy/sampled": -of["old_logp"].mean(),
        "kl_old/k1": -delta.mean(),
        "kl_old/k3": (ratio - 1 - delta).mean(),
        "ratio/mean": ratio.mean(),
        "ratio/max": ratio.max(),
        "ratio/min": ratio.min(),
        "ratio/ess": ratio.mean().square() / ratio.square().mean(),  # effective sample size over the number of actions (Kish 1965)
        "ratio/clamped_frac": (delta.abs() >= ops.LOG_RATIO_LIMIT).float().mean(),
        "ratio/seq_geo_mean": sequence.exp().mean(),
        "ratio/seq_geo_max": sequence.exp().max(),
    }
    found |= {f"kl_ref/{name}": of[f"ref_{name}"].mean() for name in ("k1", "k3") if f"ref_{name}" in of}
    return {key: float(value) for key, value in found.items()}


def _gates(rule: PolicyGradient, of: dict[str, Tensor]) -> dict[str, float]:
    """`gate` is the share of gradient kept, weighted by weight x |advantage|; undefined where no action has an advantage."""
    live = ~of["gate"].isnan()
    each, advantage = of["gate"][live], of["advantage"][live]
    plain = of["weight"][live] * advantage.abs()
    if not len(each):
        return {}
    found = {"gate": (each * plain).sum() / plain.sum(), "gate/min": each.min(), "eff_weight/frac_zero": (each == 0).float().mean()}
    if rule.clips:
        found |= _clips(rule, each == 0, advantage, of["delta"][live].exp())
    return {key: float(value) for key, value in found.items()}


def _clips(rule: PolicyGradient, shut: Tensor, advantage: Tensor, ratio: Tensor) -> dict[str, Tensor]:
    """Shares of the actions whose gradient is shut, by where; a dual clip's ceiling for A < 0 is apart, where the rule has one."""
    high, low, dual = shut & (advantage > 0), shut & (advantage < 0), getattr(rule, "dual_clip", None)
    found = {"clip/high": high, "clip/low": low}
    if dual is not None:
        found |= {"clip/low": low & (ratio <= dual), "clip/dual": low & (ratio > dual)}
    return {name: flags.float().mean() for name, flags in found.items()}


def _credit(of: dict[str, Tensor]) -> dict[str, float]:
    advantage = of["advantage"]
    return {
        "adv/mean": float(advantage.mean()),
        "adv/absmax": float(advantage.abs().max()),
        "adv/pos_frac": float((advantage > 0).float().mean()),
    } | ({"adv/std": float(advantage.std())} if len(advantage) > 1 else {})


def of_groups(groups: Sequence[Group]) -> dict[str, float]:
    """Probes of everything a step sampled, before any filtering."""
    completions = [c for g in groups for c in g.completions]
    scores = [s for g in groups for s in g.scores]
    rewards = torch.tensor([s.reward for s in scores])
    lengths = torch.tensor([float(len(c.tokens)) for c in completions])
    correct = torch.tensor([s.correct for s in scores])
    truncated = torch.tensor([c.truncated for c in completions])
    by_group = torch.stack([torch.tensor([s.reward for s in g.scores]) for g in groups])
    spread = by_group.amax(1) - by_group.amin(1)
    verdict = torch.stack([torch.tensor([s.correct for s in g.scores]) for g in groups])
    found = {
        "reward/mean": rewards.mean(),
        "reward/strict": torch.tensor([s.parts.get("strict", s.correct) for s in scores]).mean(),
        "reward/lenient": torch.tensor([s.parts.get("lenient", s.correct) for s in scores]).mean(),
        "verifier/error_frac": torch.tensor([s.parts.get("error", 0.0) for s in scores]).mean(),
        "len/mean": lengths.mean(),
        "len/max": lengths.max(),
        "len/truncated_frac": truncated.float().mean(),
        "len/terminated_mean": lengths[~truncated].mean(),
        "len/correct_mean": lengths[correct == 1].mean(),
        "len/incorrect_mean": lengths[correct == 0].mean(),
        "group/zero_adv_frac": (spread == 0).float().mean(),
        "group/all_correct_frac": (verdict.amin(1) == 1).float().mean(),
        "group/all_wrong_frac": (verdict.amax(1) == 0).float().mean(),
    }
    return {key: float(value) for key, value in found.items() if not value.isnan()}


def of_sampling(rule: Rule, rounds: int, sampled: Sequence[Group], kept: Sequence[Group], settings: TrainSettings) -> dict[str, float]:
    """What a rule that resamples spent and dropped; nothing for the others, as long as they drop nothing."""
    if rule.rounds == 1 and len(kept) == len(sampled):
        return {}
    used = min(len(kept), settings.prompts)
    return {
        "sampling/rounds": float(rounds),
        "sampling/kept_frac": len(kept) / max(1, len(sampled)),
        "sampling/underfilled": float(used < settings.prompts),
        "sampling/used_tokens_frac": sum(g.tokens for g in kept[:used]) / max(1, sum(g.tokens for g in sampled)),
    } | ({"sampling/oversampling": len(sampled) / used} if used else {})
