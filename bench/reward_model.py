"""A reward model in place of the verifier: trained once on compared completions of the start policy, then frozen.

The verifier judges the comparisons, as people do in RLHF, and never pays for a completion afterwards. Its verdict stays beside the
model's in every record, so what the policy gains by fooling the model shows as a gap.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from algorithms.bradley_terry import calibration, chance_of_right, comparisons, loss
from bench.chance import number
from bench.config import RewardSettings
from bench.errors import ConfigError, DivergedError
from bench.policy import Policy, by_tokens
from bench.ranks import spent
from bench.rollout import Group, collect, rows, scored
from bench.samplers.base import Session
from bench.sharding import clip
from bench.verifying import Verifier
from tasks.base import Problem, TextTask

DRAWS = 100  # training problems looked through, at most, for each prompt to measure on


@dataclass(frozen=True)
class Facts:
    """What is known of a finished reward model, measured on prompts it did not learn from."""

    pairs: int  # learnt from
    accuracy: float  # share of pairs whose order it tells
    margin: float  # mean score of the right less the wrong completion of a pair
    calibration_error: float  # expected calibration error of sigmoid(margin), ten bins
    mean: float  # of its scores
    deviation: float
    slope: float  # sigmoid(slope * score + offset) is the chance that a completion is right
    offset: float
    drawn: int  # training problems taken from their stream
    samples: int
    tokens: int
    seconds: float = 0.0  # wall clock, of all of its making
    cpu_seconds: float = 0.0


class RewardModel:
    """A frozen score of whole completions."""

    def __init__(self, model: Policy, facts: Facts) -> None:
        self.model, self.facts = model.frozen(), facts

    @classmethod
    def of(cls, start: Policy, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> RewardModel:
        """What `tensors` and `to_json` of a finished one gave, on the start policy's shape."""
        model = start.copy().with_values()
        model.restore(tensors)
        return cls(model, Facts(**facts))

    @torch.no_grad()
    def scores(self, groups: Sequence[Group]) -> Tensor:
        """(B,) raw scores."""
        return scored(self.model, lambda prompts, completions, width: self.model.scores(prompts, completions), *rows(groups))

    def paid(self, groups: Sequence[Group]) -> tuple[Group, ...]:
        """The groups with this model's opinion as reward: its score in deviations from its mean over the start policy's completions."""
        rewards = iter(((self.scores(groups) - self.facts.mean) / self.facts.deviation).tolist())
        return tuple(replace(g, scores=tuple(replace(s, reward=next(rewards)) for s in g.scores)) for g in groups)

    def opinion(self, groups: Sequence[Group]) -> dict[str, float]:
        """What it thinks of judged completions: its mean normalised score, the share it believes to be right, and by how much that
        exceeds the share that is."""
        scores = self.scores(groups)
        belief = float(torch.sigmoid(self.facts.slope * scores + self.facts.offset).mean())
        right = sum(s.correct for g in groups for s in g.scores) / len(scores)
        normalised = (float(scores.mean()) - self.facts.mean) / self.facts.deviation
        return {"eval/model_score": normalised, "eval/model_belief": belief, "eval/model_gap": belief - right}

    def quality(self) -> dict[str, float]:
        """How well it tells right from wrong on prompts that it did not learn from."""
        known = self.facts
        return {
            "reward_model/pairs": float(known.pairs),
            "reward_model/accuracy": known.accuracy,
            "reward_model/margin": known.margin,
            "reward_model/calibration_error": known.calibration_error,
        }

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values."""
        return asdict(self.facts)


def train(
    start: Policy, session: Session, verifier: Verifier, task: TextTask, settings: RewardSettings, limit: int, seed: int
) -> RewardModel:
    """A reward model on a copy of the start policy's trunk, from fresh completions of training problems.

    Raises ConfigError where the task has too few prompts, and where the completions give no pair to learn from or none to measure on;
    DivergedError where its scores are not finite.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    problems, drawn = _problems(task, settings, seed)
    groups = collect(start, session, verifier, problems, settings.completions, limit, f"reward:{seed}")
    learnt, measured = groups[: settings.prompts], groups[settings.prompts :]
    mixed = [g for g in learnt if len({s.correct for s in g.scores}) > 1]
    if not mixed or not any(len({s.correct for s in g.scores}) > 1 for g in measured):
        raise ConfigError(
            f"of {len(groups)} prompts none has right and wrong completions to compare in both parts; "
            "raise reward.prompts, reward.measured or reward.completions, or choose another start model"
        )
    model = start.copy().with_values()
    _fit(model, mixed, settings, seed)
    facts = _measure(model, measured, int(comparisons(*_verdicts(mixed)).sum()), groups, drawn)
    if not math.isfinite(facts.margin * facts.deviation):
        raise DivergedError(f"the reward model's training diverged (the margin of its pairs is {facts.margin:g}); lower reward.lr")
    seconds, cpu_seconds = spent(start.ranks, time.perf_counter() - wall, time.process_time() - cpu)
    return RewardModel(model, replace(start.ranks.agreed(facts), seconds=seconds, cpu_seconds=cpu_seconds))


def _problems(task: TextTask, settings: RewardSettings, seed: int) -> tuple[list[Problem], int]:
    """The problems to learn from, then those to measure on, which have other prompts; and how many were drawn for both."""
    stream = enumerate(task.problems("train", seed), start=1)
    found = [problem for _, problem in islice(stream, settings.prompts)]
    learnt = {problem.prompt for problem in found}
    for drawn, problem in islice(stream, DRAWS * settings.measured):
        if problem.prompt not in learnt:
            found.append(problem)
        if len(found) == settings.prompts + settings.measured:
            return found, drawn
    raise ConfigError(
        f"the task has too few training prompts to learn a reward model from {settings.prompts} and to measure it on {settings.measured} "
        "others; lower reward.prompts or reward.measured"
    )


def _fit(model: Policy, groups: Sequence[Group], settings: RewardSettings, seed: int) -> None:
    """One epoch after the other over the prompts in a new order, all pairs of a prompt in one step."""
    optimizer = AdamW(list(model.parameters()), settings.lr, (0.9, 0.95), weight_decay=0.0, fused=True)
    for epoch in range(settings.epochs):
        order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(number(f"reward:{seed}:{epoch}"))).tolist()
        for first in range(0, len(order), settings.rows):
            optimizer.zero_grad(set_to_none=True)
            _backward(model, [groups[i] for i in order[first : first + settings.rows]], settings)
            clip(list(model.parameters()), 1.0)
            optimizer.step()


def _backward(model: Policy, groups: Sequence[Group], settings: RewardSettings) -> None:
    """Adds the gradient of the loss. Where tokens are bounded, scores are made twice: all of them to know the slope of each, then a few
    at a time with their gradients, so the pairs of a prompt need not go forward together."""
    prompts, completions = rows(groups)
    correct, group = (of.to(model.device) for of in _verdicts(groups))
    each = model.ranks.size  # every process does the same, and gradients are summed over them
    if not settings.microbatch_tokens:
        (loss(model.scores(prompts, completions), correct, group, settings.centre) / each).backward()
        return
    with torch.no_grad():
        score = model.scores(prompts, completions)
    (slope,) = torch.autograd.grad(loss(score.requires_grad_(), correct, group, settings.centre), score)
    lengths = [len(p) + len(c) for p, c in zip(prompts, completions, strict=True)]
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    for part in by_tokens(order, lengths, settings.microbatch_tokens):
        model.scores([prompts[i] for i in part], [completions[i] for i in part]).backward(slope[part] / each)


def _verdicts(groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
    """(B,) verdicts and group numbers."""
    correct = torch.tensor([s.correct for g in groups for s in g.scores])
    return correct, torch.tensor([i for i, g in enumerate(groups) for _ in g.scores])


@torch.no_grad()
def _measure(model: Policy, groups: Sequence[Group], pairs: int, all_groups: Sequence[Group], drawn: int) -> Facts:
    """The facts, from prompts that were not learnt from."""
    score = model.scores(*rows(groups)).cpu()
    correct, group = _verdicts(groups)
    better, worse = comparisons(correct, group).nonzero(as_tuple=True)
    margin = score[better] - score[worse]
    slope, offset = chance_of_right(score, correct)
    return Facts(
        pairs=pairs,
        accuracy=float((margin > 0).float().mean()),
        margin=float(margin.mean()),
        calibration_error=float(calibration(margin)),
        mean=float(score.mean()),
        deviation=max(float(score.std()), 1e-6),
        slope=slope,
        offset=offset,
        drawn=drawn,
        samples=sum(len(g.completions) for g in all_groups),
        tokens=sum(g.tokens for g in all_groups),
    )
