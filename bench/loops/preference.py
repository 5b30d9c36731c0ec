"""Learning from one rollout batch by a rule on pairs: judge, pair, step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch
from algorithms.preference import Preference, Side
from bench.chance import minibatches, uniform
from bench.config import TrainSettings
from bench.loops import mismatch, probes
from bench.loops.pieces import turns
from bench.loops.progress import Progress
from bench.loops.setup import Learner, Plan
from bench.loops.updates import warm
from bench.rollout import Group, logp, rows, verdicts
from bench.sharding import clip

Texts = tuple[list[tuple[int, ...]], list[tuple[int, ...]]]


def learn(learner: Learner, rule: Preference, plan: Plan, progress: Progress, groups: list[Group]) -> dict[str, float]:
    """Pair once, then every optimizer step over the pairs; returns the probes."""
    settings, texts = plan.settings, rows(groups)
    batch = verdicts(groups, plan.limit, verified=learner.reward_model is None)
    batch = replace(batch, chance=uniform(len(texts[0]), f"chance:{plan.seed}:{progress.step}"))
    sampled = batch.to(learner.policy.device)
    batch = _priced(learner, sampled, texts)
    better, worse = rule.pairs(batch)
    paired = len(batch.group[better].unique())
    found = {"pairs/count": float(len(better)), "pairs/skipped_frac": 1 - paired / len(groups)}
    if not learner.exact:
        found |= mismatch.gap((batch.old_logp - sampled.old_logp).abs()[batch.mask])
    seen = []
    if len(better):
        for index in minibatches(len(better), settings, rule.updates_once, f"{plan.seed}:{progress.step}"):
            warm(learner, settings, progress.updates)
            seen.append(_step(learner, rule, settings, batch, texts, better[index], worse[index]))
            progress.updates += 1
        found |= _probes(seen, settings.grad_clip)
    else:
        found["update/skipped"] = 1.0
    _renew(learner, rule, progress.step)
    return found


@torch.no_grad()
def _priced(learner: Learner, batch: Batch, texts: Texts) -> Batch:
    """The batch with the log-probabilities of the policy that sampled, and of the start model where there is one to ask."""
    if not learner.exact:
        batch = replace(batch, old_logp=logp(learner.behaviour, *texts))
    if learner.reference is None:
        return batch
    return replace(batch, ref_logp=logp(learner.reference, *texts))


def _renew(learner: Learner, rule: Preference, step: int) -> None:
    """Let the newest weights sample, where it is time for it."""
    if rule.sampling == "iterative" and step % rule.every == 0:
        learner.behaviour.restore(learner.policy.tensors())
    if rule.sampling == "offline":
        learner.looking.refresh()
    else:
        learner.refresh()


@dataclass(frozen=True)
class _Seen:
    """What one optimizer step saw, before it stepped."""

    tokens: dict[str, Tensor]  # flat, of the distinct completions of its pairs
    pairs: dict[str, Tensor]  # (P,)
    grad_norm: float  # before clipping


def _step(learner: Learner, rule: Preference, settings: TrainSettings, batch: Batch, texts: Texts, better: Tensor, worse: Tensor) -> _Seen:
    """One optimizer step over P pairs. A completion that is in several pairs of a pass goes forward once."""
    learner.optimizer.zero_grad(set_to_none=True)
    ranks = learner.policy.ranks
    seen = torch.zeros(3, *batch.mask.shape, device=batch.mask.device)  # log-probability, entropy, and how often they were seen
    lengths = [max(len(texts[0][i]) + len(texts[1][i]) for i in pair) for pair in zip(better.tolist(), worse.tolist(), strict=True)]
    for part, counts in turns(lengths, settings, ranks, rows=2):
        used, place = torch.cat([better[part], worse[part]]).unique(return_inverse=True)
        own = batch.rows(used)
        now = learner.policy.forward([texts[0][i] for i in used.tolist()], [texts[1][i] for i in used.tolist()], width=batch.mask.shape[1])
        one, other = (_side(rule, now.logp, own, i) for i in place.chunk(2))
        (rule.loss(one, other).sum() * counts / len(better)).backward()
        assert now.entropy is not None
        seen[:, used] += torch.stack([now.logp.detach(), now.entropy.detach(), torch.ones_like(now.entropy)]) * counts
    norm = clip(list(learner.policy.parameters()), settings.grad_clip)
    seen = ranks.summed(seen)
    learner.optimizer.step()
    return _seen(rule, batch, seen[:2] / seen[2].clamp_min(1), better, worse, norm)


def _side(rule: Preference, logp: Tensor, batch: Batch, index: Tensor) -> Side:
    """The completions of these numbers, one of each pair."""
    reference = batch.old_logp if rule.reference_policy == "sampling" else batch.ref_logp
    assert reference is not None
    return Side(logp[index], reference[index], batch.mask[index])


@torch.no_grad()
def _seen(rule: Preference, batch: Batch, figures: Tensor, better: Tensor, worse: Tensor, norm: float) -> _Seen:
    """From the (2, B, T) log-probabilities and entropies of the completions that were in a pair."""
    logp, entropy = figures
    used = torch.cat([better, worse]).unique()
    one, other = (_side(rule, logp, batch, index) for index in (better, worse))
    pairs = _of_pairs(rule, one, other) | {"loss": rule.loss(one, other)}
    return _Seen(probes.of_rows(batch.rows(used), logp[used], entropy[used]), pairs, norm)


def _of_pairs(rule: Preference, better: Side, worse: Side) -> dict[str, Tensor]:
    """(P,) figures of each pair; log-probabilities are sums over a completion."""
    chosen, rejected = rule.margin(better, worse)
    return {
        "chosen_reward": chosen,
        "rejected_reward": rejected,
        "margin": chosen - rejected,
        "accuracy": (chosen > rejected).to(chosen),
        "weight_mean": torch.sigmoid(rejected - chosen),
        "chosen_logp": ops.masked(better.logp, better.mask).sum(-1),
        "rejected_logp": ops.masked(worse.logp, worse.mask).sum(-1),
        "len_diff": (better.mask.sum(-1) - worse.mask.sum(-1)).to(chosen),
    }


def _probes(seen: Sequence[_Seen], grad_clip: float) -> dict[str, float]:
    pairs = probes.joined([s.pairs for s in seen])
    found = {f"pairs/{key}": float(value.mean()) for key, value in pairs.items()}
    return found | probes.divergence(probes.joined([s.tokens for s in seen])) | probes.norms([s.grad_norm for s in seen], grad_clip)
