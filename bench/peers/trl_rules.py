"""Each rule that TRL has a counterpart of, with our advantages: TRL computes its own within the method that generates.

So a pull in the reward (k1) would be ours on both sides, and none is tried.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Forward
from algorithms.preference import Side
from bench.checks import batches
from bench.checks.batches import Draw, generator
from bench.peers import Agreement, trl
from bench.peers.compared import SEEDS, Counterpart, cases, gap, largest, questions, shown
from bench.registry import load

EXACT = 1e-12
FLOAT32 = 1e-7  # SAPO's temperatures and DPO's accuracy are made in float32


def terms(rule: Any) -> dict[str, Any]:
    """The pull to the reference, by TRL's names."""
    if rule.kl == 0:
        return {"beta": 0.0}
    return {"beta": rule.kl, "use_bias_correction_kl": rule.kl_estimator == "ratio_k3"}


def loss(rule: Any, of: Batch, now: Forward, **settings: Any) -> Tensor:
    """() of the trainer that `settings` describe, with the rule's advantages and pull."""
    return trl.policy_loss(of, now, rule.credit(of).advantage, **(terms(rule) | settings))


def grpo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    return loss(rule, of, now, loss_type="grpo", epsilon=rule.clip, delta=rule.dual_clip)


def dapo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    bounds = {"epsilon": rule.clip_low, "epsilon_high": rule.clip_high}
    return loss(rule, of, now, loss_type="dapo", entropy_coef=rule.entropy_bonus, **bounds)


def gspo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    bounds: dict[str, Any] = {"epsilon": rule.clip_low, "epsilon_high": rule.clip_high}
    if rule.per_token:
        bounds |= {"trainer": "trl.experimental.gspo_token:GRPOTrainer", "importance_sampling_level": "sequence_token"}
    return loss(rule, of, now, **({"loss_type": "grpo", "importance_sampling_level": "sequence"} | bounds))


def sapo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    return loss(rule, of, now, loss_type="sapo", sapo_temperature_pos=rule.tau_pos, sapo_temperature_neg=rule.tau_neg)


def dr_grpo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    return loss(rule, of, now, loss_type="dr_grpo", epsilon=rule.clip)


def cispo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    return loss(rule, of, now, loss_type="cispo", epsilon_high=rule.ratio_cap)


def vespo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    better = {"vespo_k_pos": rule.k_pos, "vespo_lambda_pos": rule.lam_pos}
    worse = {"vespo_k_neg": rule.k_neg, "vespo_lambda_neg": rule.lam_neg}
    return loss(rule, of, now, loss_type="vespo", **better, **worse)


def rloo_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    return loss(rule, of, now, trainer="trl.trainer.rloo_trainer:RLOOTrainer", epsilon=rule.clip)


def pairs(seed: str) -> tuple[Tensor, Tensor, Side, Side]:
    """Logits (12, 9, 5) that ask for gradients, tokens (12, 9), and the two sides of 6 pairs of lengths from 1 to 8."""
    of = batches.batch(f"peers:pairs:{seed}")
    draw = Draw(f"peers:pairs:{seed}", shape=(*of.mask.shape, 5))
    logits = torch.nn.functional.pad(2 * draw.normal("logits"), (0, 0, 0, 1)).requires_grad_()
    tokens = torch.randint(5, logits.shape[:2], generator=generator(f"peers:tokens:{seed}"))
    logp = logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:].unsqueeze(-1)).squeeze(-1)
    reference = logp.detach() + Draw(f"peers:pairs:{seed}").normal("reference")
    half = len(logp) // 2
    better, worse = (Side(logp[rows], reference[rows], of.mask[rows]) for rows in (slice(half), slice(half, None)))
    return logits, tokens, better, worse


def dpo() -> Iterator[Agreement]:
    """Loss, its slope along every logit, and what is logged of the implicit rewards."""
    for settings in ({}, {"beta": 0.5}, {"beta": 0.7, "per_token": True}):
        rule = load("algorithms", "dpo")(**settings)
        apart: dict[str, list[float]] = {}
        for seed in SEEDS:
            for what, difference in dpo_apart(rule, seed):
                apart.setdefault(what, []).append(difference)
        for what, found in apart.items():
            note = "DPOTrainer, " + ("sigmoid_norm" if rule.per_token else "sigmoid")
            allowed = FLOAT32 if what == "accuracy" else EXACT
            yield Agreement(rule="dpo", what=what, settings=shown(settings), difference=largest(found), tolerance=allowed, note=note)


def dpo_apart(rule: Any, seed: str) -> Iterator[tuple[str, float]]:
    """Each quantity of one batch of pairs, and how far the two sides are apart."""
    logits, tokens, better, worse = pairs(seed)
    ours = rule.loss(better, worse).mean()
    kind = "sigmoid_norm" if rule.per_token else "sigmoid"
    theirs, logged = trl.preference(logits, tokens, better, worse, beta=rule.beta, loss_types=[kind])
    yield "loss", gap(ours, theirs)
    slopes = (torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (ours, theirs))
    yield "gradient", gap(*slopes)
    if not rule.per_token:  # it logs sums whatever the loss averages
        chosen, rejected = rule.margin(better, worse)
        yield "margin", abs(float((chosen - rejected).mean().detach()) - logged["rewards/margins"])
        yield "accuracy", abs(float((chosen > rejected).double().mean()) - logged["rewards/accuracies"])


def overlong() -> Iterator[Agreement]:
    """The soft penalty on every length up to the limit."""
    theirs = importlib.import_module("trl.rewards").get_soft_overlong_punishment(100, 20)([[1] * n for n in range(1, 101)])
    ours = ops.overlong_penalty(torch.arange(1, 101).double(), 100, 20.0)
    difference = gap(ours, torch.tensor(theirs, dtype=torch.float64))
    note = "get_soft_overlong_punishment"
    yield Agreement(rule="overlong", what="penalty", settings="limit 100, cache 20", difference=difference, tolerance=EXACT, note=note)


def whitening() -> Iterator[Agreement]:
    """Zero mean and unit deviation over all actions."""
    theirs, apart = importlib.import_module("trl.experimental.ppo.ppo_trainer").masked_whiten, []
    for of, now in questions():
        apart.append(gap(ops.whitened(now.logp, of.mask), ops.masked(theirs(now.logp, of.mask.double()), of.mask)))
    yield Agreement(rule="whitening", what="value", settings="", difference=largest(apart), tolerance=EXACT, note="masked_whiten")


CLIP = {"clip_low": 0.05, "clip_high": 0.08}
CASES = {
    **cases(
        Counterpart(
            rule="grpo",
            function="GRPOTrainer, grpo",
            loss=grpo_loss,
            settings=(
                {},
                {"clip": 0.05, "std_eps": 1e-6},
                {"clip": 0.1, "dual_clip": 1.3},
                *({"kl": 0.3, "kl_estimator": name} for name in ("k3", "ratio_k3")),
            ),
            tolerance=EXACT,
        ),
        Counterpart(
            rule="dapo",
            function="GRPOTrainer, dapo",
            loss=dapo_loss,
            settings=({}, {"clip_low": 0.1, "clip_high": 0.4, "entropy_bonus": 0.1}, {"kl": 0.1, "kl_estimator": "ratio_k3"}),
            tolerance=EXACT,
        ),
        Counterpart(
            rule="gspo",
            function="GRPOTrainer, grpo, sequence",
            loss=gspo_loss,
            settings=({}, CLIP, CLIP | {"kl": 0.2, "kl_estimator": "k3"}),
            tolerance=EXACT,
        ),
        Counterpart(
            rule="gspo",
            function="gspo_token.GRPOTrainer, grpo, sequence_token",
            loss=gspo_loss,
            settings=({"per_token": True}, CLIP | {"per_token": True}),
            tolerance=EXACT,
        ),
        Counterpart(
            rule="sapo",
            function="GRPOTrainer, sapo",
            loss=sapo_loss,
            settings=({}, {"tau_pos": 3.0, "tau_neg": 0.7}, {"tau_pos": 2.0, "tau_neg": 0.5, "kl": 0.1}),
            tolerance=FLOAT32,
        ),
        Counterpart(
            rule="dr_grpo",
            function="GRPOTrainer, dr_grpo",
            loss=dr_grpo_loss,
            settings=({}, {"clip": 0.1, "kl": 0.3, "kl_estimator": "k3"}),
            tolerance=EXACT,
        ),
        Counterpart(
            rule="cispo",
            function="GRPOTrainer, cispo",
            loss=cispo_loss,
            settings=({}, {"ratio_cap": 1.2}, {"ratio_cap": 1.2, "kl": 0.1, "kl_estimator": "ratio_k3"}),
            tolerance=EXACT,
        ),
        Counterpart(
            rule="vespo",
            function="GRPOTrainer, vespo",
            loss=vespo_loss,
            settings=({}, {"k_pos": 0.5, "lam_pos": 1.0, "k_neg": 1.5, "lam_neg": 4.0, "kl": 0.1, "kl_estimator": "k3"}),
            tolerance=EXACT,
        ),
        Counterpart(
            rule="rloo",
            function="RLOOTrainer",
            loss=rloo_loss,
            settings=({}, {"clip": 0.5}),
            tolerance=EXACT,
        ),
    ),
    "dpo": dpo,
    "overlong": overlong,
    "whitening": whitening,
}
