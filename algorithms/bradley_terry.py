"""The Bradley-Terry model of comparisons, which reward models are trained and measured by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def comparisons(quality: Tensor, group: Tensor) -> Tensor:
    """(B, B) bool: the row's completion is better than the column's, by (B,) quality, and answers the same prompt."""
    return (group.unsqueeze(-1) == group.unsqueeze(-2)) & (quality.unsqueeze(-1) > quality.unsqueeze(-2))


def loss(score: Tensor, quality: Tensor, group: Tensor, centre: float = 0.0) -> Tensor:
    """() mean over prompts of the mean over all pairs of a prompt of -log sigmoid(better - worse) (InstructGPT, arXiv 2203.02155, eq. 1).

    All pairs of a prompt count together as one, however many they are; a prompt whose completions are equally good does not count.
    `centre` weighs (better + worse)^2 beside it, which fixes the zero that the comparisons leave open (arXiv 2312.09244, sec. 3).
    """
    beats = comparisons(quality, group)
    own, other = score.unsqueeze(-1), score.unsqueeze(-2)
    each = torch.where(beats, -logsigmoid(own - other) + centre * (own + other).square(), torch.zeros_like(own - other))
    of_prompt = group.unsqueeze(-1) == group.unsqueeze(-2)
    pairs = (beats.sum(-1).to(score) * of_prompt).sum(-1)  # (B,) pairs of the completion's whole prompt
    paired = pairs > 0
    prompts = torch.where(paired, 1 / of_prompt.sum(-1).to(score), torch.zeros_like(pairs)).sum()
    return (each.sum(-1) / pairs.clamp_min(1)).sum() / prompts.clamp_min(1)


def calibration(margin: Tensor, bins: int = 10) -> Tensor:
    """() expected calibration error of (P,) margins of better less worse: how far the confidence sigmoid(|margin|) is from the share of
    pairs ordered rightly, averaged over `bins` equal bins of confidence by the pairs in them."""
    confidence, right = torch.sigmoid(margin.abs()), (margin > 0).to(margin)
    which = ((confidence - 0.5) * 2 * bins).long().clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=margin.dtype).index_add(0, which, confidence - right)
    return gaps.abs().sum() / max(1, len(margin))


def chance_of_right(score: Tensor, correct: Tensor, steps: int = 50) -> tuple[float, float]:
    """Slope and offset of the logistic curve that gives the chance of being right from a score, by Newton's method (Platt 1999).

    The targets are Platt's, drawn in from 0 and 1 by the counts, so that scores which separate perfectly still have a curve.
    """
    x = torch.stack([score, torch.ones_like(score)], -1).double()
    yes, no = correct.double().sum(), (1 - correct.double()).sum()
    target = torch.where(correct > 0.5, (yes + 1) / (yes + 2), 1 / (no + 2))
    w = torch.zeros(2, dtype=torch.float64)
    for _ in range(steps):
        p = torch.sigmoid(x @ w)
        hessian = (x * (p * (1 - p)).unsqueeze(-1)).T @ x + 1e-9 * torch.eye(2, dtype=torch.float64)
        w = w - torch.linalg.solve(hessian, x.T @ (p - target))
    return float(w[0]), float(w[1])
