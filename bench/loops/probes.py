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
from algorithms.base import Batch, Credit, Forward, PolicyGradient
from bench.config import TrainSettings
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
    parts = [_of_update(rule, s) for s in seen]
    joined = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    norms = torch.tensor([s.grad_norm for s in seen])
    found = _divergence(joined) | _gates(rule, joined) | _credit(joined)
    found["grad/norm"], found["grad/clipped"] = float(norms.mean()), float((norms > grad_clip).float().mean())
    return {key: value for key, value in found.items() if not math.isnan(value)}


def _of_update(rule: PolicyGradient, seen: Seen) -> dict[str, Tensor]:
    """Flat tensors over the valid tokens of one step, and over its paths."""
    batch, mask = seen.batch, seen.batch.mask
    delta = ops.log_ratio(seen.logp, batch.old_logp, mask)
    found = {
        "delta": delta,
        "old_logp": batch.old_logp,
        "entropy": seen.entropy,
        "advantage": seen.credit.advantage,
        "weight": seen.credit.weight,
    }
    found["gate"] = gate(rule, Forward(seen.logp, seen.entropy), batch, seen.credit)
    if batch.ref_logp is not None:
        found["delta_ref"] = ops.kl_value("k1", seen.logp, batch.ref_logp, mask)
    flat = {key: value[mask] for key, value in found.items()}
    alive = mask.any(-1)
    flat["sequence"] = ops.sequence_log_ratio(seen.logp, batch.old_logp, mask)[alive, 0]
    return flat


def _divergence(of: dict[str, Tensor]) -> dict[str, float]:
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
        "ratio/clamped_frac": (delta.abs() >= ops.LOG_RATIO_LIMIT).float().mean(),
        "ratio/seq_geo_mean": sequence.exp().mean(),
        "ratio/seq_geo_max": sequence.exp().max(),
    }
    if "delta_ref" in of:
        d = of["delta_ref"]
        found |= {"kl_ref/k1": d.mean(), "kl_ref/k3": (torch.expm1(-d) + d).mean()}
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
        found |= {f"clip/{side}": ((each == 0) & (sign * advantage > 0)).float().mean() for side, sign in (("high", 1), ("low", -1))}
    return {key: float(value) for key, value in found.items()}


def _credit(of: dict[str, Tensor]) -> dict[str, float]:
    advantage = of["advantage"]
    return {
        "adv/mean": float(advantage.mean()),
        "adv/std": float(advantage.std()) if len(advantage) > 1 else math.nan,
        "adv/absmax": float(advantage.abs().max()),
        "adv/pos_frac": float((advantage > 0).float().mean()),
    }


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


def of_sampling(
    rule: PolicyGradient, rounds: int, sampled: Sequence[Group], kept: Sequence[Group], settings: TrainSettings
) -> dict[str, float]:
    """What a rule that resamples spent and dropped; nothing for the others."""
    if rule.rounds == 1:
        return {}
    used = min(len(kept), settings.prompts)
    return {
        "sampling/rounds": float(rounds),
        "sampling/kept_frac": len(kept) / max(1, len(sampled)),
        "sampling/underfilled": float(used < settings.prompts),
    } | ({"sampling/oversampling": len(sampled) / used} if used else {})
