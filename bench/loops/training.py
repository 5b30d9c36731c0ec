"""Training on text: sample, verify, learn, look. One rule differs from another only in the rule."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from algorithms.base import PolicyGradient
from algorithms.preference import Preference
from bench.evaluation import judged
from bench.loops import policy_gradient, preference, probes
from bench.loops.filling import fill
from bench.loops.progress import Progress
from bench.loops.setup import Learner, Plan
from bench.ranks import Ranks, spent
from bench.record import Judged, Record
from bench.rollout import Group, collect

EXAMPLES = 2  # completions of each step that are kept for reading


def train(learner: Learner, plan: Plan, progress: Progress) -> Iterator[Record]:
    """Yields the state at the start, then after each rollout batch, without end; continues from `progress` where that has steps.

    `progress` is up to date at each yield. Raises ConfigError where a rule that insists on full batches finds none, DivergedError where
    a step leaves the finite numbers.
    """
    clock, rates = _Clock(progress, learner.policy.ranks), "train.lr or train.critic_lr" if learner.rule.critic else "train.lr"
    stream = islice(plan.task.problems("train", plan.seed), progress.drawn, None)
    if progress.step == 0:
        known = {} if learner.reward_model is None else learner.reward_model.quality()
        yield clock.stamp(_record(progress, 0.0, known, _evaluation(learner, plan, progress)))
    while True:
        before, progress.step = progress.samples, progress.step + 1
        sampled, kept, found = fill(learner, plan, progress, stream)
        probes.check({"rollout/logp": sum(x for g in sampled for c in g.completions for x in c.logp)}, progress.step, rates)
        found |= _learn(learner, plan, progress, kept) if kept else {"update/skipped": 1.0}
        probes.check(found, progress.step, rates)
        progress.examples = [example for group in sampled[:EXAMPLES] for example in group.examples(progress.step, 1)]
        due = progress.samples // plan.eval_every > before // plan.eval_every or before < plan.allowance <= progress.samples
        evaluated = _evaluation(learner, plan, progress) if due else None
        score = sum(s.correct for g in sampled for s in g.scores) / sum(len(g.scores) for g in sampled)
        yield clock.stamp(_record(progress, score, found, evaluated))


def _learn(learner: Learner, plan: Plan, progress: Progress, groups: list[Group]) -> dict[str, float]:
    """Every optimizer step of one rollout batch; returns the probes."""
    if isinstance(learner.rule, Preference):
        return preference.learn(learner, learner.rule, plan, progress, groups)
    assert isinstance(learner.rule, PolicyGradient)
    return policy_gradient.learn(learner, learner.rule, plan, progress, groups)


def _evaluation(learner: Learner, plan: Plan, progress: Progress) -> Judged:
    settings, seed = plan.settings, f"evaluate:{plan.seed}:{progress.step}"
    groups = collect(learner.policy, learner.looking, learner.verifier, plan.held_out, settings.eval_completions, plan.limit, seed)
    found = judged(groups)
    return found if learner.reward_model is None else replace(found, probes=found.probes | learner.reward_model.opinion(groups))


def _record(progress: Progress, train_score: float, found: dict[str, float], evaluated: Judged | None) -> Record:
    probes = found if evaluated is None else found | evaluated.probes
    return Record(
        step=progress.step,
        samples=progress.samples,
        tokens=progress.tokens,
        verifier_calls=progress.verifier_calls,
        updates=progress.updates,
        seconds=0.0,
        cpu_seconds=0.0,
        train_score=train_score,
        eval_score=probes.get("eval/pass@1"),
        probes=probes,
        items=None if evaluated is None else evaluated.items,
    )


class _Clock:
    """Adds the time since the newest stamp to what the run had used before: the first process's seconds, and the CPU seconds of all."""

    def __init__(self, progress: Progress, ranks: Ranks) -> None:
        self.progress, self.ranks = progress, ranks
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def stamp(self, record: Record) -> Record:
        wall, cpu = time.perf_counter(), time.process_time()
        seconds, cpu_seconds = spent(self.ranks, wall - self.wall, cpu - self.cpu)
        self.progress.seconds += seconds
        self.progress.cpu_seconds += cpu_seconds
        self.wall, self.cpu = wall, cpu
        return replace(record, seconds=self.progress.seconds, cpu_seconds=self.progress.cpu_seconds)
