"""Sampling until a rollout batch is full: once for most rules, again and again for those that drop groups without signal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from bench.errors import ConfigError
from bench.loops import probes
from bench.loops.progress import Progress
from bench.loops.setup import Learner, Plan
from bench.rollout import Group, verdicts
from tasks.base import Problem


def fill(learner: Learner, plan: Plan, progress: Progress, stream: Iterator[Problem]) -> tuple[list[Group], list[Group], dict[str, float]]:
    """Sample rounds until the rule keeps a full batch of groups, its rounds are spent or the allowance is; all of one frozen policy.

    Returns everything sampled, what is to be trained on, and the probes of the sampling.
    """
    settings, rule = plan.settings, learner.rule
    sampled: list[Group] = []
    kept, progress.carried = progress.carried, []
    rounds = 0
    while len(kept) < settings.prompts and rounds < rule.rounds and (not rounds or progress.samples < plan.allowance):
        rounds += 1
        problems = list(islice(stream, settings.prompts))
        if not problems:
            raise ConfigError(f"the task has no more training problems after {progress.drawn}")
        seed = f"train:{plan.seed}:{progress.step}:{rounds}"
        groups = learner.collect(problems, settings.completions, plan.limit, seed)
        progress.drawn += len(problems)
        progress.samples += sum(len(g.completions) for g in groups)
        progress.tokens += sum(g.tokens for g in groups)
        progress.verifier_calls += sum(len(g.completions) for g in groups)
        sampled += groups
        passes = rule.keep(verdicts(groups, plan.limit, verified=learner.reward_model is None)).view(len(groups), -1).any(-1).tolist()
        kept = kept + [group for group, passed in zip(groups, passes, strict=True) if passed]
    if len(kept) < settings.prompts and getattr(rule, "on_exhausted", "train_partial") == "error":
        raise ConfigError(
            f"{len(kept)} of {settings.prompts} prompts had mixed verdicts after {rounds} rounds; "
            "raise algo.max_rounds, or set algo.on_exhausted=train_partial"
        )
    surplus = kept[settings.prompts :]
    if getattr(rule, "surplus", "discard") == "carry":
        progress.carried = surplus
    return sampled, kept[: settings.prompts], probes.of_groups(sampled) | probes.of_sampling(rule, rounds, sampled, kept, settings)
