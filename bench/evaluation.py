"""The score on held-out problems."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import comb

from bench.policy import Policy
from bench.record import Items, Judged
from bench.rollout import Group, collect
from bench.samplers.base import Session
from bench.verifying import Verifier
from tasks.base import Problem, Split, TextTask

EVALUATION_SEED = 0  # the same problems for every run, rule and seed


def problems(task: TextTask, split: Split, count: int) -> list[Problem]:
    """The first `count` problems of a split that differ under the task's key; fewer where a finite split has no more."""
    return list(islice(_distinct(task, task.problems(split, EVALUATION_SEED)), count))


def _distinct(task: TextTask, stream: Iterable[Problem]) -> Iterator[Problem]:
    seen: set[object] = set()
    repeats = 0
    for problem in stream:
        key = (task.key(problem), problem.answer)
        repeats = repeats + 1 if key in seen else 0
        if repeats > 10_000:  # a small space, exhausted
            return
        if key not in seen:
            seen.add(key)
            yield problem


def evaluate(
    policy: Policy, session: Session, verifier: Verifier, held_out: Sequence[Problem], n: int, limit: int, seed: str
) -> dict[str, float]:
    """The summary of n completions of each problem at temperature 1."""
    return summary(collect(policy, session, verifier, held_out, n, limit, seed))


def judged(groups: Sequence[Group]) -> Judged:
    """The summary, and the mean verdict on each problem."""
    return Judged(
        summary(groups), Items(key([g.problem for g in groups]), tuple(sum(s.correct for s in g.scores) / len(g.scores) for g in groups))
    )


def key(problems: Sequence[Problem]) -> str:
    """Twelve hex digits that name these problems in this order."""
    return hashlib.sha256("\n".join(repr((p.id, p.prompt, p.answer)) for p in problems).encode()).hexdigest()[:12]


def summary(groups: Sequence[Group]) -> dict[str, float]:
    """pass@k for k = 1, 2, 4, ... up to the completions per problem, with strict and lenient scores and lengths."""
    n = len(groups[0].completions)
    right = [round(sum(s.correct for s in g.scores)) for g in groups]
    ks = [2**i for i in range(n.bit_length())]
    scores = {f"eval/pass@{k}": sum(pass_at_k(n, c, k) for c in right) / len(right) for k in ks}
    return scores | _behaviour(groups)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased chance that one of k completions is right, from `correct` right ones among n (Chen et al. 2021, arXiv 2107.03374, eq. 1)."""
    return 1 - comb(n - correct, k) / comb(n, k)


def _behaviour(groups: Sequence[Group]) -> dict[str, float]:
    completions = [c for g in groups for c in g.completions]
    scores = [s for g in groups for s in g.scores]
    total = len(completions)
    return {
        "eval/strict": sum(s.parts.get("strict", s.correct) for s in scores) / total,
        "eval/lenient": sum(s.parts.get("lenient", s.correct) for s in scores) / total,
        "eval/length": sum(len(c.tokens) for c in completions) / total,
        "eval/truncated": sum(c.truncated for c in completions) / total,
        "eval/errors": sum(s.parts.get("error", 0.0) for s in scores) / total,
    }
