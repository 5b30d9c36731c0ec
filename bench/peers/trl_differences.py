"""Where TRL differs from our rules on purpose, each place shown by a number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from bench.checks import batches
from bench.peers import Agreement, trl
from bench.peers.compared import SEEDS, difference, gap, largest, question, questions
from bench.peers.trl_rules import pairs
from bench.registry import load


def apart(name: str, theirs: dict[str, Any], settings: dict[str, Any], empty: bool = False, scale: float = 1.0) -> float:
    """Largest difference between TRL's loss, times `scale`, and ours."""
    found = []
    for of, now in questions(empty=empty):
        rule = load("algorithms", name)(**settings)
        loss = trl.policy_loss(of, now, rule.credit(of).advantage, **theirs)
        found.append(gap(scale * loss, batches.step(rule, now, of)[0]))
    return largest(found)


def grpo() -> Iterator[Agreement]:
    """Its default average, paths without actions, the entropy bonus and ratios without a bound."""
    kind = trl.default("loss_type")
    yield difference("grpo", "loss", f"loss_type={kind}", apart("grpo", {}, {}), f"its default loss_type is {kind}, not grpo")
    yield difference(
        "grpo", "loss", f"loss_type={kind}", apart("dapo", {}, {"clip_high": 0.2}), f"agrees with our {kind} instead", most=1e-12
    )
    theirs = {"loss_type": "grpo"}
    note = "a path without actions counts in its mean over paths; ours leaves it out"
    yield difference("grpo", "loss", "one path of 12 empty", apart("grpo", theirs, {}, empty=True), note)
    note = "agrees once its loss is multiplied by 12 / 11"
    yield difference("grpo", "loss", "one path of 12 empty", apart("grpo", theirs, {}, empty=True, scale=12 / 11), note, most=1e-12)
    note = "its entropy bonus is a mean over tokens whatever loss_type averages; ours has the rule's own weights"
    bonus = apart("grpo", theirs | {"entropy_coef": 0.1}, {"entropy_bonus": 0.1})
    yield difference("grpo", "loss", "entropy_bonus=0.1", bonus, note, least=1e-4)
    note = "a log-ratio is not held within +-20, so at 30 and A < 0 the loss explodes"
    yield difference("grpo", "loss", "log-ratio of 30", _far("grpo", theirs), note)


def _far(name: str, theirs: dict[str, Any]) -> float:
    of, now = question(SEEDS[0])
    rule = load("algorithms", name)()
    far = replace(now, logp=of.old_logp + 30)
    return gap(trl.policy_loss(of, far, rule.credit(of).advantage, **theirs), batches.step(rule, far, of)[0])


def gspo() -> Iterator[Agreement]:
    """The average that its default gives the sequence ratio."""
    kind, settings = trl.default("loss_type"), {"clip_low": 0.05, "clip_high": 0.08}
    theirs = {"importance_sampling_level": "sequence", "epsilon": 0.05, "epsilon_high": 0.08}
    note = f"importance_sampling_level=sequence with its default loss_type={kind} weighs paths by their length: not GSPO"
    yield difference("gspo", "loss", "clip_low=0.05, clip_high=0.08", apart("gspo", theirs, settings), note)
    note = "agrees with loss_type=grpo"
    yield difference(
        "gspo", "loss", "clip_low=0.05, clip_high=0.08", apart("gspo", theirs | {"loss_type": "grpo"}, settings), note, most=1e-12
    )


def sapo() -> Iterator[Agreement]:
    """Temperatures that float32 cannot hold."""
    note = "its temperatures are made in float32, which 1.05 does not survive"
    yield difference("sapo", "loss", "tau_neg=1.05", apart("sapo", {"loss_type": "sapo"}, {}), note, least=1e-11, most=1e-7)
    exact = {"sapo_temperature_neg": 1.0625}
    note = "agrees to rounding where float32 holds the temperature"
    yield difference("sapo", "loss", "tau_neg=1.0625", apart("sapo", {"loss_type": "sapo"} | exact, {"tau_neg": 1.0625}), note, most=1e-12)


def dpo() -> Iterator[Agreement]:
    """Two terms beside the classifier."""
    note = "label_smoothing has no effect on its sigmoid loss (conservative DPO is not among its losses)"
    smoothed = _pairs_apart({"label_smoothing": 0.2}, {"label_smoothing": 0.2})
    yield difference("dpo", "loss", "label_smoothing=0.2", smoothed, note)
    note = "its sft term is a mean over all tokens of the better completions; ours is a mean over each, then over pairs"
    terms = {"loss_types": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}
    yield difference("dpo", "loss", "sft_coef=0.5", _pairs_apart(terms, {"sft_coef": 0.5}), note)


def _pairs_apart(theirs: dict[str, Any], settings: dict[str, Any]) -> float:
    rule, found = load("algorithms", "dpo")(**settings), []
    for seed in SEEDS:
        logits, tokens, better, worse = pairs(seed)
        loss, _ = trl.preference(logits, tokens, better, worse, **({"beta": rule.beta} | theirs))
        found.append(gap(loss, rule.loss(better, worse).mean()))
    return largest(found)


CASES = {"grpo": grpo, "gspo": gspo, "sapo": sapo, "dpo": dpo}
