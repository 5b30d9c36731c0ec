"""What a policy-gradient rule promises of its credit and of the batches it takes. Tensors are float64 unless a promise is about float32."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from algorithms.base import Batch, Forward, PolicyGradient
from bench.checks.batches import (
    PATHS,
    batch,
    close,
    forward,
    generator,
    gradients,
    leaves,
    loss,
    mapped,
    some_rows,
    step,
    tensors,
    with_terms,
)
from bench.checks.expect import DoesNotApply, expect


def weights_average(rule: PolicyGradient) -> None:
    """Weights are 0 or more, 0 outside the mask, and sum to 1; those of a sum per path are the same for every action instead."""
    of = batch("weights")
    credit = rule.credit(of)
    weight = credit.weight
    expect((weight >= 0).all(), f"a weight is negative: {weight.min().item():g}")
    expect((weight[~of.mask] == 0).all(), "a weight outside the mask is not 0")
    if credit.per_path:
        each = weight[of.mask]
        close(each, each[:1].expand_as(each), "weight of an action of a sum per path")
        expect(each[0] > 0, "the weights are all 0")
    else:
        close(weight.sum(), torch.ones((), dtype=weight.dtype), "sum of the weights")


def credit_is_fixed(rule: PolicyGradient) -> None:
    """Credit is finite, carries no gradient, and its advantage is 0 outside the mask."""
    of = batch("credit")
    credit = rule.credit(of)
    for name, value in tensors(credit).items():
        expect(value.shape == of.mask.shape, f"{name} has shape {tuple(value.shape)} instead of {tuple(of.mask.shape)}")
        expect(value.isfinite().all(), f"{name} is not finite")
        expect(not value.requires_grad, f"{name} carries a gradient")
    expect((credit.advantage[~of.mask] == 0).all(), "an advantage outside the mask is not 0")


def keeps_whole_groups(rule: PolicyGradient) -> None:
    """`keep` gives one flag per path, and a group-relative rule never tears a group apart."""
    of = batch("keep")
    kept = rule.keep(of)
    expect(kept.dtype == torch.bool and kept.shape == of.group.shape, f"keep gives {kept.dtype} of shape {tuple(kept.shape)}")
    if rule.group:
        torn = [int(g) for g in of.group.unique() if kept[of.group == g].unique().numel() > 1]
        expect(not torn, f"keep drops some paths of group {torn} and keeps others")


def ignores_padding(rule: PolicyGradient) -> None:
    """NaN and +-1e4 outside the mask, and masked columns before and after, change neither loss nor gradient."""
    of = batch("padding")
    now = forward(of, "padding")
    before, after = 2, 3
    longer = torch.nn.functional.pad(of.mask, (before, after))
    for varied in with_terms(rule):
        wanted, slopes = step(varied, now, of)
        for garbage in (float("nan"), 1e4, -1e4):

            def spoiled(x: Tensor, garbage: float = garbage) -> Tensor:
                x = torch.nn.functional.pad(x.detach(), (before, after))
                return x.masked_fill(~longer, True if x.dtype == torch.bool else garbage)

            dirty = replace(mapped(of, spoiled), mask=longer)
            found, spoiled_slopes = step(varied, mapped(now, spoiled), dirty)
            close(found, wanted, f"loss with {garbage:g} in the padding")
            for name, slope in spoiled_slopes.items():
                close(slope[:, before:-after], slopes[name], f"gradient along {name} with {garbage:g} in the padding")
                expect((slope[~longer] == 0).all(), f"the padding has a gradient along {name} with {garbage:g} in it")


def ignores_order(rule: PolicyGradient) -> None:
    """The order of the paths changes neither loss nor gradient."""
    of = batch("order")
    now, index = forward(of, "order"), torch.randperm(PATHS, generator=generator("order"))
    for varied in with_terms(rule):
        wanted, slopes = step(varied, now, of)
        found, permuted = step(varied, some_rows(now, index), of.rows(index))
        close(found, wanted, "loss of permuted paths")
        for name in slopes:
            close(permuted[name], slopes[name][index], f"gradient along {name} of permuted paths")


def splits_exactly(rule: PolicyGradient) -> None:
    """With credit given once, micro-batches of any size add up to the same loss and gradient."""
    of = batch("split")
    now, order = forward(of, "split"), torch.randperm(PATHS, generator=generator("split"))
    for varied in with_terms(rule):
        credit = varied.credit(of)
        whole = loss(varied, now, of, credit)
        for size in (1, 2, 5, 7):
            parts = [loss(varied, some_rows(now, i), of.rows(i), some_rows(credit, i)) for i in order.split(size)]
            total = torch.stack(parts).sum()
            close(total.detach(), whole.detach(), f"loss in micro-batches of {size}")
            wanted = gradients(loss(varied, now, of, credit), now)
            for name, slope in gradients(total, now).items():
                close(slope, wanted[name], f"gradient along {name} in micro-batches of {size}")


def equal_rewards_teach_nothing(rule: PolicyGradient) -> None:
    """In float32, groups whose rewards are all the same have an advantage of exactly 0 (0.1 three times, 0.7 seven times)."""
    _needs_groups(rule)
    if rule.control:
        raise DoesNotApply("a control may be paid by something else than the rewards")
    rewards = torch.tensor([0.1] * 3 + [0.7] * 7)
    of = outcome(rewards, torch.tensor([0] * 3 + [1] * 7))
    found = rule.credit(of).advantage
    expect((found == 0).all(), f"rewards of a group are equal, but an advantage is {found.abs().max().item():g}")


def rewards_have_no_scale(rule: PolicyGradient) -> None:
    """Adding a constant to all rewards changes no advantage; nor does scaling them, where the rule divides by the deviation."""
    _needs_groups(rule)
    plain: PolicyGradient = replace(rule, kl=0.0)
    divides = "std_eps" in {f.name for f in fields(plain)}
    if divides:
        plain = replace(plain, **dict[str, Any](std_eps=0.0))
    rewards = torch.randn(PATHS, generator=generator("affine"), dtype=torch.float64)
    group = torch.arange(PATHS) // 4
    wanted = plain.credit(outcome(rewards, group)).advantage
    for scale, shift in ((1.0, -3.0), (2.0, -1.0), (0.01, 5.0)) if divides else ((1.0, -3.0), (1.0, 5.0)):
        found = plain.credit(outcome(scale * rewards + shift, group)).advantage
        close(found, wanted, f"advantage with rewards times {scale:g} plus {shift:g}", 1e-10)


def _needs_groups(rule: PolicyGradient) -> None:
    if not rule.group:
        raise DoesNotApply("the rule is not group-relative")


def outcome(rewards: Tensor, group: Tensor) -> Batch:
    """Paths of two actions and no length limit, with (B,) rewards on their last action."""
    padded = torch.stack([torch.zeros_like(rewards), rewards], dim=1)
    ones, chance = torch.ones_like(padded), torch.rand(len(rewards), generator=generator("outcome"))
    known: dict[str, Any] = {
        "old_logp": -ones,
        "ref_logp": -ones,
        "old_value": ones,
        "correct": rewards,
        "formatted": rewards,
        "chance": chance,
    }
    return Batch(group=group, reward=padded, mask=ones, **known)


def unscorable_paths_stay_out(rule: PolicyGradient) -> None:
    """A path whose reward is NaN (its verifier failed) gets no advantage, and the others get what they would without it."""
    of = batch("unscorable")
    broken = of.reward.clone()
    broken[3] = float("nan")
    advantage = rule.credit(replace(of, reward=broken)).advantage
    expect(advantage.isfinite().all(), "one NaN reward makes an advantage that is not finite")
    expect((advantage[3] == 0).all(), "a path with a NaN reward has an advantage")
    if not rule.control:  # one may be paid by the place in the batch
        others = torch.tensor([i for i in range(PATHS) if i != 3])
        close(advantage[others], rule.credit(of.rows(others)).advantage, "advantage beside a path with a NaN reward")


def is_pure(rule: PolicyGradient) -> None:
    """Two calls give the same, inputs are left as they were, and no global source of chance is used."""
    of = batch("pure")
    now = forward(of, "pure")
    before = [{k: v.detach().clone() for k, v in tensors(x).items()} for x in (of, now)]
    states = torch.get_rng_state(), random.getstate()
    credits = [rule.credit(of) for _ in range(2)]
    taken = {k: v.clone() for k, v in tensors(credits[0]).items()}
    values = [rule.objective(now, of, credits[0]) for _ in range(2)]
    expect(torch.equal(values[0], values[1]), "objective gives something else when called again")
    for name, value in tensors(credits[1]).items():
        expect(torch.equal(value, taken[name]), f"credit gives another {name} when called again")
    expect(torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate(), "a global source of chance was used")
    for held, x in zip([*before, taken], (of, now, credits[0]), strict=True):
        changed = [k for k, v in tensors(x).items() if not torch.equal(v, held[k])]
        expect(not changed, f"the rule changed its input {', '.join(changed)}")


def stays_finite(rule: PolicyGradient) -> None:
    """Extreme batches give a finite loss and gradient, and none where there is nothing to learn."""
    for dtype in (torch.float32, torch.float64):
        of = batch("extreme", dtype)
        now = forward(of, "extreme")
        for shift in (100.0, -100.0):
            _finite(rule, replace(now, logp=of.old_logp + shift), of, f"log-ratios of {shift:g}")
        for title, lengths, empty in (
            ("empty paths", torch.tensor([0, 3, 0, 1] * 3), 6),
            ("one valid action", torch.tensor([1] + [0] * (PATHS - 1)), PATHS - 1),
            ("nothing valid", torch.zeros(PATHS, dtype=torch.long), PATHS),
        ):
            hollow = batch("extreme", dtype, lengths)
            slopes = _finite(rule, now, hollow, title)
            silent = sum(int((slopes["logp"][i] == 0).all()) for i in range(PATHS) if lengths[i] == 0)
            expect(silent == empty, f"{title}: a path without actions has a gradient")
        slopes = _finite(rule, now, batch("extreme", dtype, sizes=1), "groups of one")
        if rule.group:
            expect((slopes["logp"] == 0).all(), "groups of one: there is nothing to compare with, and yet a gradient")


def _finite(rule: PolicyGradient, now: Forward, of: Batch, title: str) -> dict[str, Tensor]:
    value, slopes = step(rule, now, of)
    expect(value.isfinite(), f"{title}: the loss is {value.item()}")
    for name, slope in slopes.items():
        expect(slope.isfinite().all(), f"{title}: the gradient along {name} is not finite")
    return slopes


def float32_suffices(rule: PolicyGradient) -> None:
    """The loss of the same numbers in float32 and in float64 differs by 1e-5 at most."""
    single = batch("precision", torch.float32)
    now = forward(single, "precision")

    def widened(x: Tensor) -> Tensor:
        return x.double() if x.is_floating_point() else x

    double = replace(single, **dict[str, Any]({k: widened(v) for k, v in tensors(single).items()}))
    for varied in with_terms(rule):
        found, wanted = step(varied, now, single)[0], step(varied, leaves(mapped(now, lambda x: x.double())), double)[0]
        close(found.double(), wanted, "loss in float32", 1e-5)


ASKS = PolicyGradient
CONTRACTS = [
    ("weights average: 0 or more, 0 outside the mask, sum 1 or a sum per path", weights_average),
    ("credit is finite and carries no gradient", credit_is_fixed),
    ("keep gives a flag per path and tears no group apart", keeps_whole_groups),
    ("padding changes neither loss nor gradient", ignores_padding),
    ("the order of paths changes neither loss nor gradient", ignores_order),
    ("micro-batches of any size add up to the same loss and gradient", splits_exactly),
    ("equal rewards in a group give an advantage of exactly 0", equal_rewards_teach_nothing),
    ("advantages within groups do not depend on the rewards' zero and scale", rewards_have_no_scale),
    ("a path that could not be scored stays out", unscorable_paths_stay_out),
    ("pure: same twice, inputs untouched, no global chance", is_pure),
    ("extreme batches stay finite", stays_finite),
    ("float32 agrees with float64 to 1e-5", float32_suffices),
]
