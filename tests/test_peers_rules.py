"""Ours beside other libraries, where they are installed: everything agrees, and every fault that is put into ours shows."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from peered import agree, with_peers
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Forward, PolicyGradient
from algorithms.dpo import DPO
from algorithms.value import ValueRule
from bench import registry
from bench.checks import batches
from bench.peers import PEERS, compare
from bench.peers.printed import markdown

ROOT = Path(__file__).parents[1]

POLICY = [name for name in registry.names("algorithms") if issubclass(registry.load("algorithms", name), PolicyGradient)]
VALUED = [name for name in registry.names("algorithms") if issubclass(registry.load("algorithms", name), ValueRule)]
RULES = [(peer, rule) for peer, other in PEERS.items() for rule in other.known() if rule in POLICY and (peer, rule) != ("verl", "rloo")]
# Settings that need not show: those of the loop, of a baseline, gate or penalty that a peer lacks, and GSPO's form per token, which is the
# same where a path has one advantage.
SILENT = {
    "cispo": {"ratio_floor"},
    "dapo": {"dynamic_sampling", "max_rounds", "on_exhausted", "surplus", "overlong_cache"},
    "gspo": {"per_token"},
    "ppo": {"target_kl"},
    "reinforce": {"decay"},
    "sapo": {"clip", "eta", "offset"},
}
UNKNOWN = {("sb3", "ppo"): {"dual_clip", "value_clip"}, ("sb3", "a2c"): {"value_clip"}}  # None in all that such a peer is asked
PARTS = [
    ("sb3", "gae", "gae"),
    ("trl", "overlong", "overlong_penalty"),
    ("trl", "whitening", "whitened"),
    ("verl", "adaptive kl", "adapted_kl"),
    ("verl", "averaging", "sequence_mean"),
    ("verl", "averaging", "token_mean"),
    ("verl", "critic", "gae"),
    ("verl", "critic", "value_error"),
    ("verl", "kl", "kl_in_loss"),
    ("verl", "kl", "kl_value"),
    ("verl", "rloo", "group_centred"),
    ("verl", "whitening", "whitened"),
]


def test_everything_compared_has_a_fault_below() -> None:
    """Or, for value rules and what they share, in test_peers_values.py."""
    known = {(peer, name) for peer, other in PEERS.items() for name in other.known()}
    valued = {(peer, name) for peer, name in known if name in VALUED}
    assert known == {*RULES, *valued, *((peer, part) for peer, part, _ in PARTS), ("trl", "dpo"), ("d3rlpy", "tanh density")}


def other_setting(rule: Any, name: str) -> Any:
    """The rule with one setting a twentieth lower, switched, or the choice before it; itself where the setting is None."""
    value = getattr(rule, name)
    if isinstance(value, str):
        choices = get_args(get_type_hints(type(rule))[name])
        return replace(rule, **{name: choices[choices.index(value) - 1]})
    if isinstance(value, bool):
        return replace(rule, **{name: not value})
    return rule if value is None else replace(rule, **{name: type(value)(0.95 * value)})


@with_peers
@pytest.mark.parametrize("peer", PEERS)
def test_every_rule_agrees(there: str) -> None:
    found = list(compare(there))
    assert [each for each in found if not each.holds] == []
    assert any(each.by_design for each in found)


@with_peers
@pytest.mark.parametrize("peer", PEERS)
def test_the_document_has_the_tables(there: str) -> None:
    """Every line, but for the differences themselves, which machines may round otherwise."""
    between = re.search(f"<!-- {there} -->\n(.*)<!-- /{there} -->", (ROOT / "docs" / "conformance.md").read_text(), re.DOTALL)
    assert between is not None

    def lines(text: str) -> list[str]:
        return [re.sub(r"\| (below )?[0-9.]+(e[+-]\d+)? (?=\|( \S+ \|)?$)", "| ", line) for line in text.splitlines()]

    assert lines(between[1]) == lines(markdown(list(compare(there))))


@with_peers
@pytest.mark.parametrize(("peer", "rule"), RULES)
def test_every_setting_of_ours_shows(there: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, real = registry.load("algorithms", rule), batches.step
    shared = {field.name for field in fields(PolicyGradient)}
    silent = set()
    for field in fields(kind):
        if field.name in shared:
            continue

        def step(rule: Any, now: Forward, of: Batch, name: str = field.name) -> Any:
            return real(other_setting(rule, name) if type(rule) is kind else rule, now, of)

        monkeypatch.setattr(batches, "step", step)
        if agree(there, rule):
            silent.add(field.name)
    assert silent <= SILENT.get(rule, set()) | UNKNOWN.get((there, rule), set())


@with_peers
@pytest.mark.parametrize(("peer", "rule"), RULES)
def test_an_advantage_of_the_wrong_sign_shows(there: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = registry.load("algorithms", rule)
    real = kind.surrogate

    def surrogate(self: Any, now: Forward, batch: Batch, credit: Any) -> Tensor:
        return real(self, now, batch, replace(credit, advantage=-credit.advantage))  # type: ignore[no-any-return]

    monkeypatch.setattr(kind, "surrogate", surrogate)
    assert not agree(there, rule)


@with_peers
@pytest.mark.parametrize(
    ("peer", "rule", "name"),
    [
        *((peer, rule, name) for peer, rule in (("trl", "dapo"), ("verl", "grpo")) for name in ("kl", "kl_estimator", "entropy_bonus")),
        ("sb3", "ppo", "entropy_bonus"),
        ("sb3", "a2c", "entropy_bonus"),
    ],
)
def test_the_terms_that_rules_share_show(there: str, rule: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = batches.step
    monkeypatch.setattr(batches, "step", lambda rule, now, of: real(other_setting(rule, name), now, of))
    assert not agree(there, rule)


@with_peers
@pytest.mark.parametrize("peer", PEERS)
def test_a_pull_in_the_reward_shows_wherever_it_is_tried(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PolicyGradient, "shaped", lambda self, batch: ops.masked(batch.reward, batch.mask))
    shown: dict[tuple[str, str], bool] = {}
    for each in compare(there):
        if "kl_estimator=k1" in each.settings:
            shown[each.rule, each.settings] = shown.get((each.rule, each.settings), False) or not each.holds
    assert [place for place, noticed in shown.items() if not noticed] == []


@with_peers
@pytest.mark.parametrize("peer", ["trl"])
@pytest.mark.parametrize("method", ["loss", "margin"])
@pytest.mark.parametrize("fault", [lambda rule: replace(rule, beta=0.95 * rule.beta), lambda rule: replace(rule, per_token=True), None])
def test_a_fault_in_dpo_shows(there: str, method: str, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = getattr(DPO, method)

    def changed(self: DPO, better: Any, worse: Any) -> Any:
        return real(fault(self), better, worse) if fault else real(self, worse, better)

    monkeypatch.setattr(DPO, method, changed)
    assert not agree(there, "dpo")


@with_peers
@pytest.mark.parametrize(("peer", "part", "formula"), PARTS)
def test_a_fault_in_what_rules_share_shows(there: str, part: str, formula: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = getattr(ops, formula)
    monkeypatch.setattr(ops, formula, lambda *given: 1.001 * real(*given))
    assert not agree(there, part)
