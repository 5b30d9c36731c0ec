"""Learning from one rollout batch by a policy-gradient rule: price, credit, step."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, PolicyGradient
from bench.chance import minibatches, uniform
from bench.loops import mismatch, probes
from bench.loops.progress import Progress
from bench.loops.setup import Learner, Plan
from bench.loops.updates import Rows, demonstrations, update, warm
from bench.rollout import Group, logp, rows, scored, verdicts


def learn(learner: Learner, rule: PolicyGradient, plan: Plan, progress: Progress, groups: list[Group]) -> dict[str, float]:
    """Credit once, then every optimizer step of the rollout batch; returns the probes."""
    settings, name = plan.settings, f"{plan.seed}:{progress.step}"
    if rule.kl_target is not None and progress.kl is not None:
        rule = replace(rule, kl=progress.kl)
    prompts, completions = rows(groups)
    sampled = _batch(learner, plan, progress, groups)
    batch, gap = _priced(learner, sampled, prompts, completions, progress.updates == 0)
    credit, mended = mismatch.mend(rule.credit(batch), batch, sampled.old_logp, settings.tis_cap)
    progress.history.append(float(batch.reward.sum(-1).nanmean()))
    shown = demonstrations(learner.policy, plan, progress.step, groups)
    seen: list[probes.Seen] = []
    stopped = 0
    for index in minibatches(len(completions), settings, rule.updates_once, name):
        warm(learner, settings, progress.updates)
        part = Rows(batch.rows(index), credit.rows(index), [prompts[i] for i in index.tolist()], [completions[i] for i in index.tolist()])
        step = update(learner, rule, settings, part, next(shown, None), policy=not stopped)
        progress.updates += 1
        if step is None:
            stopped += 1
            continue
        stopped += not step.moved
        if not seen and gap is None:  # the first step differentiates the policy that sampled
            gap = (step.logp - part.batch.old_logp).abs()[part.batch.mask]
        seen.append(probes.Seen(part.batch, part.credit, step.logp, step.entropy, step.grad_norm))
    learner.refresh()
    found = probes.of_updates(rule, seen, settings.grad_clip) | _pull(rule, batch, progress) | mended
    if rule.critic:
        found |= probes.of_values(batch, credit)
    if getattr(rule, "target_kl", None) is not None:
        found["update/stopped"] = float(stopped)
    return found | ({} if gap is None else mismatch.gap(gap))


def _batch(learner: Learner, plan: Plan, progress: Progress, groups: list[Group]) -> Batch:
    """What the rule may look at, without what the models have to say of it."""
    batch = verdicts(groups, plan.limit, verified=learner.reward_model is None)
    chance = uniform(len(batch.group), f"chance:{plan.seed}:{progress.step}")
    return replace(batch, history=torch.tensor(progress.history), chance=chance).to(learner.policy.device)


@torch.no_grad()
def _priced(
    learner: Learner, batch: Batch, prompts: list[tuple[int, ...]], completions: list[tuple[int, ...]], first: bool
) -> tuple[Batch, Tensor | None]:
    """The batch with the trainer's own old log-probabilities, the reference's and the critic's values, and the gap to the sampler's
    log-probabilities where it was computed. On the `first` batch the critic is set to its mean return."""
    gap = None
    if not learner.exact:
        own = logp(learner.policy, prompts, completions)
        gap = (own - batch.old_logp).abs()[batch.mask]
        batch = replace(batch, old_logp=own)
    if learner.reference is not None:
        batch = replace(batch, ref_logp=logp(learner.reference, prompts, completions))
    if learner.critic is not None:
        critic = learner.critic
        if first and critic.value_head is not None:
            critic.value_head.bias.fill_(float(ops.path_return(batch.reward, batch.mask).nanmean()))
        value = scored(critic, lambda p, c, width: critic.values(p, c, width=width), prompts, completions)
        batch = replace(batch, old_value=value)
    return batch, gap


def _pull(rule: PolicyGradient, batch: Batch, progress: Progress) -> dict[str, float]:
    """The strength of the pull on this batch; where it adapts, the next batch's is set by this one's divergence."""
    if rule.kl_target is None or batch.ref_logp is None:
        return {}
    found = float((batch.old_logp - batch.ref_logp)[batch.mask].mean())
    progress.kl = ops.adapted_kl(rule.kl, found, rule.kl_target, len(batch.group), rule.kl_horizon)
    return {"kl_ref/coefficient": rule.kl}
