"""From problems to a training batch: sample, verify, pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from algorithms.base import Batch
from bench.policy import Policy, Rows
from bench.samplers.base import Completion, Session
from bench.verifying import Verifier
from tasks.base import Problem, Score

Say = Callable[[Rows, Rows, int], Tensor]


@dataclass(frozen=True)
class Group:
    """The completions of one prompt with their verdicts."""

    problem: Problem
    prompt: tuple[int, ...]
    completions: tuple[Completion, ...]
    scores: tuple[Score, ...]

    @property
    def tokens(self) -> int:
        return sum(len(c.tokens) for c in self.completions)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Group:
        """The inverse of `dataclasses.asdict`, JSON's lists read as tuples."""
        completions = tuple(Completion(tuple(c["tokens"]), tuple(c["logp"]), c["text"], c["truncated"]) for c in data["completions"])
        return cls(Problem(**data["problem"]), tuple(data["prompt"]), completions, tuple(Score(**s) for s in data["scores"]))

    def examples(self, step: int, count: int) -> list[dict[str, Any]]:
        """The first completions as a person reads them."""
        shown = zip(self.completions[:count], self.scores, strict=False)
        return [{"step": step, "id": self.problem.id, "prompt": self.problem.prompt, "text": c.text, **asdict(s)} for c, s in shown]


def collect(
    policy: Policy, session: Session, verifier: Verifier, problems: Sequence[Problem], n: int, limit: int, seed: str
) -> tuple[Group, ...]:
    """n scored completions of at most `limit` tokens for each problem. Each process of the run samples and scores its part of them."""
    prompts = [tuple(policy.encode(problem.prompt)) for problem in problems]
    first, count = policy.ranks.share(len(problems))
    part = slice(first, first + count)
    sampled = session.share(prompts, n, limit, seed, first, count)
    return tuple(policy.ranks.gathered(judged(verifier, problems[part], prompts[part], sampled)))


def collect_greedy(policy: Policy, session: Session, verifier: Verifier, problems: Sequence[Problem], limit: int) -> tuple[Group, ...]:
    """The one scored completion of each problem that takes the likeliest token at every place. Raises what `Session.greedy` raises."""
    prompts = [tuple(policy.encode(problem.prompt)) for problem in problems]
    return judged(verifier, problems, prompts, [[made] for made in session.greedy(prompts, limit)])


def judged(
    verifier: Verifier, problems: Sequence[Problem], prompts: Sequence[tuple[int, ...]], sampled: Sequence[Sequence[Completion]]
) -> tuple[Group, ...]:
    """Completions of each problem with their verdicts."""
    scores = iter(verifier.score([(p, c.text) for p, completions in zip(problems, sampled, strict=True) for c in completions]))
    return tuple(
        Group(problem, prompt, tuple(completions), tuple(next(scores) for _ in completions))
        for problem, prompt, completions in zip(problems, prompts, sampled, strict=True)
    )


def rows(groups: Sequence[Group]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """The token ids that the rows of a batch stand for: prompts and completions."""
    return [g.prompt for g in groups for _ in g.completions], [c.tokens for g in groups for c in g.completions]


def scored(policy: Policy, say: Say, prompts: Rows, completions: Rows) -> Tensor:
    """(B, ...) what a model on the policy's processes says of B completions, without gradient: each process asks it about a part of them.

    `say` is given prompts, completions and the width of the longest of all completions.
    """
    count, width = len(prompts), max(map(len, completions))
    if policy.ranks.size == 1:
        return say(prompts, completions, width)
    first, own = policy.ranks.share(count)
    part = slice(first, first + max(1, own))  # a process without a part goes through the motions with somebody's row
    found = say(prompts[part], completions[part], width)
    out = found.new_zeros(count, *found.shape[1:])
    out[first : first + own] = found[:own]
    return policy.ranks.summed(out)


def logp(policy: Policy, prompts: Rows, completions: Rows) -> Tensor:
    """(B, T) the policy's log-probabilities of B completions, without gradient."""
    return scored(policy, lambda p, c, width: policy.forward(p, c, width=width).logp, prompts, completions)


def verdicts(groups: Sequence[Group], limit: int, *, verified: bool = True) -> Batch:
    """The batch as the sampler and the verifier gave it: old_logp is the sampler's own.

    `verified=False` leaves out what only the verifier knows, where something else pays.
    """
    completions = [c for g in groups for c in g.completions]
    scores = [s for g in groups for s in g.scores]
    shape = len(completions), max(len(c.tokens) for c in completions)
    mask, reward, logp = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape), torch.zeros(shape)
    for i, (completion, score) in enumerate(zip(completions, scores, strict=True)):
        length = len(completion.tokens)
        mask[i, :length] = True
        reward[i, length - 1] = score.reward
        logp[i, :length] = torch.tensor(completion.logp)
    return Batch(
        group=torch.tensor([i for i, g in enumerate(groups) for _ in g.completions]),
        reward=reward,
        mask=mask,
        old_logp=logp,
        truncated=torch.tensor([c.truncated for c in completions]),
        correct=torch.tensor([s.correct for s in scores]) if verified else None,
        formatted=_formatted(scores),
        limit=limit,
    )


def _formatted(scores: Sequence[Score]) -> torch.Tensor | None:
    """(B,) each verdict on the form; None where the task gives none. A completion whose verifier failed has not the form."""
    known = [s.parts.get("format", 0.0 if "error" in s.parts else None) for s in scores]
    return None if None in known else torch.tensor(known)
