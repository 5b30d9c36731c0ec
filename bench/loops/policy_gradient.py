"""The policy-gradient loop on text: sample, verify, credit, step. One rule differs from another only in the rule."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from algorithms.base import Batch, PolicyGradient
from bench.config import TrainSettings
from bench.evaluation import evaluate
from bench.loops import probes
from bench.loops.filling import fill
from bench.loops.progress import Progress
from bench.loops.setup import Learner, Plan
from bench.loops.updates import update
from bench.record import Record
from bench.rollout import Group, verdicts

EXAMPLES = 2  # completions of each step that are kept for reading


def policy_gradient(learner: Learner, plan: Plan, progress: Progress) -> Iterator[Record]:
    """Yields the state at the start, then after each rollout batch, without end; continues from `progress` where that has steps.

    `progress` is up to date at each yield. Raises ConfigError where a rule that insists on full batches finds none.
    """
    clock = _Clock(progress)
    stream = islice(plan.task.problems("train", plan.seed), progress.drawn, None)
    if progress.step == 0:
        yield clock.stamp(_record(progress, 0.0, _evaluation(learner, plan, progress)))
    while True:
        before, progress.step = progress.samples, progress.step + 1
        sampled, kept, found = fill(learner, plan, progress, stream)
        found |= _train(learner, plan, progress, kept) if kept else {"update/skipped": 1.0}
        progress.examples = [example for group in sampled[:EXAMPLES] for example in group.examples(progress.step, 1)]
        due = progress.samples // plan.eval_every > before // plan.eval_every
        evaluated = _evaluation(learner, plan, progress) if due else {}
        score = sum(s.correct for g in sampled for s in g.scores) / sum(len(g.scores) for g in sampled)
        yield clock.stamp(_record(progress, score, found | evaluated))


def _train(learner: Learner, plan: Plan, progress: Progress, groups: list[Group]) -> dict[str, float]:
    """Credit once, then every optimizer step of the rollout batch; returns the probes."""
    settings, rule = plan.settings, learner.rule
    prompts = [g.prompt for g in groups for _ in g.completions]
    completions = [c.tokens for g in groups for c in g.completions]
    batch = verdicts(groups, plan.limit).to(learner.policy.device)
    batch, gap = _priced(learner, replace(batch, history=torch.tensor(progress.history)), prompts, completions)
    credit = rule.credit(batch)
    progress.history.append(float(batch.reward.sum(-1).mean()))
    seen: list[probes.Seen] = []
    for index in _minibatches(len(completions), settings, rule, f"{plan.seed}:{progress.step}"):
        for group in learner.optimizer.param_groups:
            group["lr"] = settings.lr * min(1.0, (progress.updates + 1) / max(1, settings.warmup))
        rows, share = batch.rows(index), credit.rows(index)
        step = update(
            learner.policy,
            learner.optimizer,
            rule,
            rows,
            share,
            [prompts[i] for i in index.tolist()],
            [completions[i] for i in index.tolist()],
            settings.grad_clip,
            settings.microbatch,
        )
        progress.updates += 1
        if not seen and gap is None:  # the first step differentiates the policy that sampled
            gap = (step.logp - rows.old_logp).abs()[rows.mask]
        seen.append(probes.Seen(rows, share, step.logp, step.entropy, step.grad_norm))
    learner.session.refresh()
    found = probes.of_updates(rule, seen, settings.grad_clip)
    if gap is not None and len(gap):
        found |= {"rollout/logp_gap_mean": float(gap.mean()), "rollout/logp_gap_max": float(gap.max())}
    return found


@torch.no_grad()
def _priced(
    learner: Learner, batch: Batch, prompts: list[tuple[int, ...]], completions: list[tuple[int, ...]]
) -> tuple[Batch, Tensor | None]:
    """The batch with the trainer's own old log-probabilities and the reference's, and the gap to the sampler's where it was computed."""
    gap = None
    if not learner.exact:
        own = learner.policy.forward(prompts, completions).logp
        gap = (own - batch.old_logp).abs()[batch.mask]
        batch = replace(batch, old_logp=own)
    if learner.reference is not None:
        batch = replace(batch, ref_logp=learner.reference.forward(prompts, completions).logp)
    return batch, gap


def _minibatches(paths: int, settings: TrainSettings, rule: PolicyGradient, seed: str) -> Iterator[Tensor]:
    """Row numbers of each optimizer step: every pass shuffles whole completions anew."""
    steps, passes = (1, 1) if rule.updates_once else (min(settings.minibatches, paths), settings.epochs)
    for epoch in range(passes):
        chance = torch.Generator().manual_seed(number(f"minibatches:{seed}:{epoch}"))
        yield from torch.randperm(paths, generator=chance).tensor_split(steps)


def number(seed: str) -> int:
    """A 63-bit seed from its name."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") >> 1


def _evaluation(learner: Learner, plan: Plan, progress: Progress) -> dict[str, float]:
    settings, seed = plan.settings, f"evaluate:{plan.seed}:{progress.step}"
    return evaluate(learner.policy, learner.session, learner.verifier, plan.held_out, settings.eval_completions, plan.limit, seed)


def _record(progress: Progress, train_score: float, found: dict[str, float]) -> Record:
    return Record(
        step=progress.step,
        samples=progress.samples,
        tokens=progress.tokens,
        verifier_calls=progress.verifier_calls,
        updates=progress.updates,
        seconds=0.0,
        cpu_seconds=0.0,
        train_score=train_score,
        eval_score=found.get("eval/pass@1"),
        probes=found,
    )


class _Clock:
    """Adds the time since the newest stamp to what the run had used before."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def stamp(self, record: Record) -> Record:
        wall, cpu = time.perf_counter(), time.process_time()
        self.progress.seconds += wall - self.wall
        self.progress.cpu_seconds += cpu - self.cpu
        self.wall, self.cpu = wall, cpu
        return replace(record, seconds=self.progress.seconds, cpu_seconds=self.progress.cpu_seconds)
