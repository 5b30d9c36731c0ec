"""What several rules share, beside verl's version of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from algorithms import ops
from bench.checks import batches
from bench.peers import Agreement, verl, verl_rules
from bench.peers.compared import gap, largest, questions, shown
from bench.peers.verl_rules import COUNTS, PATHS, TOKENS
from bench.registry import load


def divergences() -> Iterator[Agreement]:
    """Every estimator's value and slope, without the pull around it."""
    for name in ("k1", "k2", "k3", "k3+"):
        values, slopes = [], []
        for of, now in questions():
            assert of.ref_logp is not None
            mine, theirs = batches.leaves(now), batches.leaves(now)
            ours = (
                ops.kl_in_loss(name, mine.logp, of.old_logp, of.ref_logp, of.mask)
                if name == "k3+"
                else ops.kl_value(name, mine.logp, of.ref_logp, of.mask)
            )
            found = ops.masked(verl.core().kl_penalty(theirs.logp, of.ref_logp, name), of.mask)
            values.append(gap(ours, found))
            slopes.append(gap(batches.gradients(ours.sum(), mine)["logp"], batches.gradients(found.sum(), theirs)["logp"]))
        for what, apart in (("value", values), ("gradient", slopes)):
            yield part("kl", what, f"estimator {name}", largest(apart), 1e-12, "kl_penalty")


def averages() -> Iterator[Agreement]:
    """The two averages that our weights stand for, on losses that are not a rule's."""
    weights: dict[str, Callable[[Tensor, torch.dtype], Tensor]] = {TOKENS: ops.token_mean, PATHS: ops.sequence_mean}
    for mode, weight in weights.items():
        apart = [
            gap((weight(of.mask, now.logp.dtype) * now.logp).sum(), verl.core().agg_loss(now.logp, verl.mask(of), mode))
            for of, now in questions(empty=True)
        ]
        yield part("averaging", "mean", mode, largest(apart), COUNTS if mode == PATHS else 1e-12, "agg_loss")


def whitening() -> Iterator[Agreement]:
    """Zero mean and unit deviation over all actions."""
    functional = verl.core().verl_F
    apart = [
        gap(ops.whitened(now.logp, of.mask), ops.masked(functional.masked_whiten(now.logp, verl.mask(of)), of.mask))
        for of, now in questions(empty=True)
    ]
    yield part("whitening", "value", "", largest(apart), COUNTS, "masked_whiten")


def adaptation() -> Iterator[Agreement]:
    """The strength of the pull after rollout batches far below, near and far above the target."""
    apart, ours = [], 0.3
    controller = verl.core().AdaptiveKLController(ours, 0.05, 1000)
    for found in (0.0, 0.001, 0.046, 0.05, 0.058, 0.3, 7.0, 0.051):
        ours = ops.adapted_kl(ours, found, 0.05, 128, 1000)
        controller.update(found, 128)
        apart.append(abs(ours - float(controller.value)))
    yield part("adaptive kl", "coefficient", "target 0.05, horizon 1000", largest(apart), 1e-14, "AdaptiveKLController")


def leave_one_out() -> Iterator[Agreement]:
    """Less the mean of the others, for groups of four; the ratio and the clip are not verl's."""
    rule = load("algorithms", "rloo")()
    apart = [gap(rule.credit(of).advantage, verl.leave_one_out(rule, of)) for of, _ in questions(empty=True, outcome=True)]
    yield part("rloo", "advantage", "defaults", largest(apart), 1e-12, "compute_rloo_outcome_advantage")


def part(name: str, what: str, settings: str, difference: float, tolerance: float, note: str) -> Agreement:
    """One line on a formula that is no rule."""
    return Agreement(rule=name, what=what, settings=settings, difference=difference, tolerance=tolerance, note=note)


def critics() -> Iterator[Agreement]:
    """What the critic regresses to, and its loss and slopes by themselves."""
    for settings in ({}, {"gamma": 0.9, "lam": 0.7, "value_clip": 0.1}, {"kl": 0.2, "kl_estimator": "k1", "value_clip": None}):
        rule = load("algorithms", "ppo")(**settings)
        apart: dict[str, list[float]] = {"target": [], "value loss": [], "value gradient": []}
        for of, now in questions(empty=True):
            credit, mine, theirs = rule.credit(of), batches.leaves(now), batches.leaves(now)
            ours = (credit.weight * rule.value_loss(mine.value, of, credit)).sum()
            found = verl_rules.value_loss(rule, of, theirs)
            apart["target"].append(gap(credit.target, ops.masked(verl.generalised(rule, of)[1], of.mask)))
            apart["value loss"].append(gap(ours, found))
            apart["value gradient"].append(gap(batches.gradients(ours, mine)["value"], batches.gradients(found, theirs)["value"]))
        for what, differences in apart.items():
            note = "compute_gae_advantage_return" if what == "target" else "compute_value_loss"
            yield part("critic", what, shown(settings), largest(differences), 1e-12, note)


CASES = {
    "critic": critics,
    "kl": divergences,
    "averaging": averages,
    "whitening": whitening,
    "rloo": leave_one_out,
    "adaptive kl": adaptation,
}
