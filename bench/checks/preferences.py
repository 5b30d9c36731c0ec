"""What a rule on pairs promises of the pairs it makes and of its loss. Tensors are float64 unless a promise is about float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch
from algorithms.preference import Preference, Side
from bench.checks.batches import ACTIONS, PATHS, Draw, batch, close, generator
from bench.checks.expect import expect

Pair = tuple[Side, Side]
MATCHINGS: tuple[Literal["random", "all", "best_worst"], ...] = ("random", "all", "best_worst")
REPEATABLE: tuple[Literal["random", "all"], ...] = ("random", "all")  # ties may make the first of equals the best


def judged(name: str) -> Batch:
    """A batch in groups of 4 with rewards of 0 and 1; the verdicts of one group agree."""
    of = batch(name)
    verdict = (Draw(name, shape=(PATHS,)).uniform("verdict") < 0.5).to(of.reward)
    verdict[:4] = 1.0
    verdict[4:6] = torch.tensor([0.0, 1.0])
    return of.repaid(verdict)


def pair(name: str, spread: float = 0.3, dtype: torch.dtype = torch.float64) -> Pair:
    """12 pairs of completions of 1 to 8 tokens whose log-ratios to the reference have standard deviation `spread`."""
    sides = []
    for part in ("better", "worse"):
        draw = Draw(f"{name}:{part}", dtype)
        lengths = 1 + (Draw(f"{name}:{part}", shape=(PATHS,)).uniform("length") * ACTIONS).long().clamp_max(ACTIONS - 1)
        ref = -0.05 - 3 * draw.uniform("ref")
        logp = (ref + spread * draw.normal("now")).requires_grad_()
        sides.append(Side(logp, ref, torch.arange(ACTIONS) < lengths.unsqueeze(-1)))
    return sides[0], sides[1]


def slopes(rule: Preference, better: Side, worse: Side) -> tuple[Tensor, Tensor]:
    """Of the summed loss, along the log-probabilities of each side."""
    found = torch.autograd.grad(rule.loss(better, worse).sum(), [better.logp, worse.logp])
    return found[0], found[1]


def pairs_are_comparisons(rule: Preference) -> None:
    """Both completions of a pair answer one prompt, the better is paid more, and agreement or a missing reward makes no pair."""
    of = judged("pairs")
    broken = of.reward.clone()
    broken[9] = float("nan")
    for how in MATCHINGS:
        for paid in (of, replace(of, reward=broken)):
            varied = replace(rule, matching=how, min_margin=0.0)
            better, worse = varied.pairs(paid)
            returns = ops.path_return(paid.reward, paid.mask)
            expect(len(better) and len(better) == len(worse), f"{how}: {len(better)} better and {len(worse)} worse completions")
            expect((of.group[better] == of.group[worse]).all(), f"{how}: a pair mixes prompts")
            expect((returns[better] > returns[worse]).all(), f"{how}: the better completion of a pair is not paid more")
            if how == "random":
                used = torch.cat([better, worse])
                expect(len(used.unique()) == len(used), "random: a completion is in two pairs")
        none = replace(rule, matching=how).pairs(of.repaid(torch.ones(PATHS, dtype=torch.float64)))
        expect(not len(none[0]), f"{how}: equal rewards make {len(none[0])} pairs")


def close_rewards_make_no_pair(rule: Preference) -> None:
    """The rewards of a pair differ by more than min_margin; where all are matched, every two that do are a pair."""
    reward = torch.linspace(0, 1, PATHS, dtype=torch.float64)[torch.randperm(PATHS, generator=generator("margin"))]
    of, least = judged("margin").repaid(reward), 0.35
    for how in MATCHINGS:
        better, worse = replace(rule, matching=how, min_margin=least).pairs(of)
        expect(len(better), f"{how}: no pair differs by more than {least:g}, and some do")
        narrow = float((reward[better] - reward[worse]).min())
        expect(narrow > least, f"{how}: with min_margin={least:g}, the rewards of a pair differ by {narrow:.2f}")
        if how == "all":
            count = int(((of.group == of.group[:, None]) & (reward[:, None] - reward > least)).sum())
            expect(len(better) == count, f"all: {len(better)} pairs, and {count} differ by more than min_margin={least:g}")
        equal = replace(rule, matching=how, min_margin=1.0).pairs(judged("margin"))
        expect(not len(equal[0]), f"{how}: rewards that differ by min_margin itself make {len(equal[0])} pairs")


def pairs_ignore_order(rule: Preference) -> None:
    """The order of the rows of a batch changes no pair."""
    of, index = judged("order"), torch.randperm(PATHS, generator=generator("pairs"))
    for how in REPEATABLE:
        varied = replace(rule, matching=how)
        plain = {(int(b), int(w)) for b, w in zip(*varied.pairs(of), strict=True)}
        moved = {(int(index[b]), int(index[w])) for b, w in zip(*varied.pairs(of.rows(index)), strict=True)}
        expect(plain == moved, f"{how}: permuted rows give other pairs")


def the_reference_is_indifferent(rule: Preference) -> None:
    """At the reference the rule prefers neither side; exchanging the sides flips the margin anywhere else."""
    better, worse = pair("indifferent")
    at = [replace(side, logp=side.ref_logp) for side in (better, worse)]
    close(rule.margin(*at)[0], rule.margin(*at)[1], "implicit rewards at the reference")
    (a, b), (c, d) = rule.margin(better, worse), rule.margin(worse, better)
    close(a - b, d - c, "margin of exchanged sides")


def starts_in_the_right_direction(rule: Preference) -> None:
    """At the reference the loss falls when the better completion becomes likelier and when the worse one becomes unlikelier."""
    better, worse = (replace(s, logp=s.ref_logp.clone().requires_grad_()) for s in pair("direction"))
    up, down = slopes(rule, better, worse)
    expect((up[better.mask] < 0).all(), "a token of a better completion is not made likelier")
    expect((down[worse.mask] > 0).all(), "a token of a worse completion is not made unlikelier")


def padding_is_ignored(rule: Preference) -> None:
    """NaN and +-1e4 outside the masks change neither loss nor gradient."""
    clean = pair("padding")
    wanted, grads = rule.loss(*clean).detach(), slopes(rule, *clean)
    for garbage in (float("nan"), 1e4, -1e4):
        dirty = tuple(
            Side(s.logp.detach().masked_fill(~s.mask, garbage).requires_grad_(), s.ref_logp.masked_fill(~s.mask, garbage), s.mask)
            for s in clean
        )
        close(rule.loss(dirty[0], dirty[1]).detach(), wanted, f"loss with {garbage:g} in the padding")
        for found, grad in zip(slopes(rule, dirty[0], dirty[1]), grads, strict=True):
            close(found, grad, f"gradient with {garbage:g} in the padding")


def slopes_agree_with_differences(rule: Preference) -> None:
    """Autograd's slopes are those of the loss, measured by central differences in random directions."""
    better, worse = pair("differences")
    for n in range(3):
        ways = [torch.randn(better.logp.shape, generator=generator(f"way:{side}:{n}"), dtype=torch.float64) for side in "bw"]
        values = []
        for size in (1e-5, -1e-5):
            moved = [replace(s, logp=s.logp.detach() + size * way) for s, way in zip((better, worse), ways, strict=True)]
            values.append(rule.loss(moved[0], moved[1]).sum())
        slope = sum((grad * way).sum() for grad, way in zip(slopes(rule, better, worse), ways, strict=True))
        close((values[0] - values[1]) / 2e-5, torch.as_tensor(slope), "central difference", 1e-7)


def extremes_stay_finite(rule: Preference) -> None:
    """Log-ratios of +-200 per token give a finite loss and gradient, in float32 too, and float32 agrees with float64 to 1e-5."""
    for dtype in (torch.float32, torch.float64):
        for shift in (200.0, -200.0):
            better, worse = pair("extreme", dtype=dtype)
            moved = replace(better, logp=(better.ref_logp + shift).requires_grad_())
            expect(rule.loss(moved, worse).isfinite().all(), f"log-ratios of {shift:g}: the loss is not finite")
            expect(all(g.isfinite().all() for g in slopes(rule, moved, worse)), f"log-ratios of {shift:g}: a slope is not finite")
    single = pair("precision", dtype=torch.float32)
    double = [Side(s.logp.detach().double(), s.ref_logp.double(), s.mask) for s in single]
    close(rule.loss(*single).detach().double(), rule.loss(double[0], double[1]), "loss in float32", 1e-5)


ASKS = Preference
CONTRACTS: list[tuple[str, Callable[[Preference], None]]] = [
    ("pairs compare completions of one prompt, better with worse", pairs_are_comparisons),
    ("rewards as close as min_margin make no pair", close_rewards_make_no_pair),
    ("the order of rows changes no pair", pairs_ignore_order),
    ("the reference prefers neither side", the_reference_is_indifferent),
    ("the first step goes in the right direction", starts_in_the_right_direction),
    ("padding changes neither loss nor gradient", padding_is_ignored),
    ("autograd agrees with finite differences", slopes_agree_with_differences),
    ("extreme log-ratios stay finite; float32 agrees with float64", extremes_stay_finite),
]
