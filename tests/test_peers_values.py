"""The comparison of value rules, and of rollouts from worlds, with other libraries: that it can fail, and that ours agree with theirs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
import pytest
import torch
from peered import agree, with_peers
from torch import Tensor, nn

from algorithms.value import ValueRule
from bench.checks import batches
from bench.peers import PEERS, valued
from bench.peers.compared import cases, chance, recorded, segments
from bench.peers.valued import ACTIONS, OBSERVATION, Posed, ValueCounterpart, loss_apart, transitions
from bench.registry import load, names

Test = TypeVar("Test", bound=Callable[..., None])


# What is asked


def test_segments_hold_every_way_an_episode_stops() -> None:
    for of, now in segments():
        assert of.end is not None and of.bootstrap is not None and now.entropy is not None
        assert of.mask.all()
        middle, last = of.end[:, :-1], of.end[:, -1]
        ended = of.bootstrap == 0
        assert (middle & ended[:, :-1]).any() and (middle & ~ended[:, :-1]).any()  # by the world, and by a limit
        assert (~last & ~ended[:, -1]).any() and (last & ended[:, -1]).any()
        assert not (of.bootstrap[:, :-1][~middle]).any()


@pytest.mark.parametrize("name", ["ppo", "a2c"])
def test_rows_of_one_action_have_the_loss_of_the_rows_compared(name: str) -> None:
    """Worlds are trained on in rows of one action each, which hold the credit of whole segments."""
    rule = load("algorithms", name)(gamma=0.99, value_coef=1.0, value_clip=None, whiten=True)
    for of, now in segments():
        credit = rule.credit(of)
        single = [batches.mapped(x, lambda x: x.reshape(-1, 1)) for x in (now, of, credit)]
        assert torch.allclose(batches.loss(rule, *single), batches.loss(rule, now, of, credit), rtol=0, atol=1e-14)


def test_transitions_survive_float32_where_a_peer_casts_and_end_or_go_on() -> None:
    of = transitions("alder", load("algorithms", "dqn")(gamma=0.9, n_step=3), discrete=True)
    assert torch.equal(of.obs.float().double(), of.obs) and of.obs.dtype == torch.float64
    assert set(of.terminal.tolist()) == {0.0, 1.0}
    assert torch.allclose(of.discount.unique(), torch.tensor([0.729, 0.81, 0.9]).double())
    assert of.discrete and set(of.action.tolist()) == set(range(ACTIONS))
    assert not transitions("alder", load("algorithms", "sac")(), discrete=False).discrete


def test_a_named_chance_repeats_and_leaves_the_global_one_alone() -> None:
    before, numbers = torch.get_rng_state(), np.random.get_state()[1]
    drawn = []
    for name in ("a", "a", "b"):
        with chance(name):
            drawn.append((float(torch.randn(())), float(np.random.rand())))
    assert drawn[0] == drawn[1] and drawn[0][0] != drawn[2][0] and drawn[0][1] != drawn[2][1]
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(np.random.get_state()[1], numbers)


def test_a_recorded_loss_keeps_its_graph_and_moves_nothing() -> None:
    weight = torch.ones(2, requires_grad=True)
    with recorded() as found:
        (3 * weight.sum()).backward()
    assert weight.grad is None
    assert torch.autograd.grad(found[0], weight)[0].tolist() == [3.0, 3.0]
    weight.sum().backward()
    assert weight.grad is not None and len(found) == 1


# That a wrong counterpart is found


def own(rule: Any, seed: str, change: Callable[[Tensor], Tensor] = lambda loss: loss) -> Posed:
    """A peer that is ours, but for what is done to its losses."""
    nets = {name: nn.Linear(OBSERVATION, ACTIONS) for name in ("q", "q_target")}
    for name, net in nets.items():
        valued.fill(net, f"{name}:{seed}", 1.0)
    posed = Posed(batch=transitions(seed, rule, discrete=True), nets=nets, weights={"q": list(nets["q"].parameters())}, losses={})
    gap = rule.probes(posed.nets, posed.batch, {})["cql/gap"]
    return replace(posed, losses={k: change(v) for k, v in valued.losses(rule, posed).items()}, probes={"cql/gap": gap})


def held(change: Callable[[Tensor], Tensor]) -> dict[str, bool]:
    counterpart = ValueCounterpart(rule="cql", function="ours", pose=lambda rule, seed: own(rule, seed, change))
    return {each.what: each.holds for each in counterpart.agreements()}


def test_a_rule_agrees_with_itself() -> None:
    assert held(lambda loss: loss) == {"q loss": True, "q gradient": True, "cql/gap": True}


def test_a_factor_a_constant_and_a_lost_slope_are_found() -> None:
    assert held(lambda loss: 1.001 * loss) == {"q loss": False, "q gradient": False, "cql/gap": True}
    assert held(lambda loss: loss + 1e-6) == {"q loss": False, "q gradient": True, "cql/gap": True}
    assert held(lambda loss: loss.detach() + 0 * loss) == {"q loss": True, "q gradient": False, "cql/gap": True}
    assert held(lambda loss: loss * float("nan")) == {"q loss": False, "q gradient": False, "cql/gap": True}


def test_another_diagnostic_is_found() -> None:
    rule = load("algorithms", "cql")()
    posed = own(rule, "alder")
    changed = replace(posed, probes={"cql/gap": posed.probes["cql/gap"] + 1e-3})
    assert dict(valued.apart(rule, changed))["cql/gap"] == pytest.approx(1e-3)


def test_a_loss_that_one_side_lacks_is_no_agreement() -> None:
    rule = load("algorithms", "cql")()
    posed = own(rule, "alder")
    with pytest.raises(KeyError, match="ours moves q, the peer q, policy"):
        list(valued.apart(rule, replace(posed, losses={**posed.losses, "policy": posed.losses["q"]})))


def test_a_coarse_tolerance_is_for_the_quantity_it_names() -> None:
    counterpart = ValueCounterpart(rule="cql", function="ours", pose=own, settings=({}, {"weight": 2.0}), coarse={"q loss": 1e-6})
    (compared,) = cases(counterpart).values()
    assert [(each.what, each.settings, each.tolerance) for each in compared()][3:] == [
        ("q loss", "weight=2.0", 1e-6),
        ("q gradient", "weight=2.0", 1e-12),
        ("cql/gap", "weight=2.0", 1e-12),
    ]


def test_a_scaled_loss_is_compared_with_its_slope() -> None:
    rule = load("algorithms", "cql")()
    assert max(loss_apart(rule, own(rule, "alder", lambda loss: 2 * loss), "q", 0.5)) < 1e-14
    assert min(loss_apart(rule, own(rule, "alder", lambda loss: 2 * loss), "q")) > 1e-3


# With the peers themselves


VALUED = [name for name in names("algorithms") if issubclass(load("algorithms", name), ValueRule)]
RULES = [(peer, rule) for peer, other in PEERS.items() for rule in other.known() if rule in VALUED]
# Settings of the loop, which reach a loss in the transitions if at all, and of exploration.
SILENT = {field.name for field in fields(ValueRule)} | {"epsilon_start", "epsilon_end", "epsilon_share"}
FORMULAS = [
    ("sb3", "dqn", "algorithms.dqn:DQN.target"),
    ("sb3", "dqn", "algorithms.dqn:DQN.error"),
    ("sb3", "sac", "algorithms.sac:SAC.target"),
    ("sb3", "sac", "algorithms.sac:SAC.alpha"),
    ("sb3", "sac", "algorithms.sac:SAC.wanted_entropy"),
    ("sb3", "sac", "algorithms.sac:worth"),
    ("sb3", "sac", "algorithms.tanh_gaussian:log_slope"),
    ("d3rlpy", "dqn", "algorithms.dqn:DQN.target"),
    ("d3rlpy", "sac", "algorithms.sac:SAC.critic_error"),
    ("d3rlpy", "sac", "algorithms.sac:soft_value"),
    ("d3rlpy", "cql", "algorithms.cql:CQL.target"),
    ("d3rlpy", "cql", "algorithms.cql:CQL.gap"),
    ("d3rlpy", "cql", "algorithms.cql:CQL.penalty"),
    ("d3rlpy", "cql", "algorithms.cql:CQL.multiplier"),
    ("d3rlpy", "cql", "algorithms.cql:CQL.multiplier_error"),
    ("d3rlpy", "cql", "algorithms.tanh_gaussian:mode"),
    ("d3rlpy", "bc", "algorithms.bc:BC.error"),
    ("d3rlpy", "tanh density", "algorithms.tanh_gaussian:log_slope"),
]


def comparable(peer: str, rule: str) -> bool:
    """Whether ours moves and needs what the peer has; another number of samples, say, does not fit what the peer drew."""
    try:
        agree(peer, rule)
    except (KeyError, RuntimeError):
        return False
    return True


def other_setting(rule: Any, name: str) -> Any:
    """The rule with one setting a fifth lower, switched, or the choice before it; itself where the setting is None."""
    value = getattr(rule, name)
    if isinstance(value, str):
        choices = get_args(get_type_hints(type(rule))[name])
        return replace(rule, **{name: choices[choices.index(value) - 1]})
    if isinstance(value, bool):
        return replace(rule, **{name: not value})
    return rule if value is None else replace(rule, **{name: type(value)(0.8 * value)})


def test_every_value_rule_compared_has_a_fault() -> None:
    assert set(RULES) <= {(peer, rule) for peer, rule, _ in FORMULAS}


@with_peers
@pytest.mark.parametrize(("peer", "rule"), RULES)
def test_every_setting_of_ours_shows(there: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, real = load("algorithms", rule), valued.losses
    silent = set()
    for field in fields(kind):
        if field.name in SILENT:
            continue
        monkeypatch.setattr(valued, "losses", lambda rule, posed, name=field.name: real(other_setting(rule, name), posed))
        if comparable(there, rule) and agree(there, rule):
            silent.add(field.name)
    assert silent == set()


@with_peers
@pytest.mark.parametrize(("peer", "rule", "formula"), FORMULAS)
def test_a_fault_in_a_formula_shows(there: str, rule: str, formula: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, path = formula.partition(":")
    holder = importlib.import_module(module)
    *outer, name = path.split(".")
    for each in outer:
        holder = getattr(holder, each)
    real = getattr(holder, name)
    monkeypatch.setattr(holder, name, lambda *given: 1.001 * real(*given))
    for user in ("sac", "cql"):  # which hold some functions by name
        if getattr(importlib.import_module(f"algorithms.{user}"), name, None) is real:
            monkeypatch.setattr(f"algorithms.{user}.{name}", lambda *given: 1.001 * real(*given))
    assert not agree(there, rule)


@with_peers
@pytest.mark.parametrize("peer", ["sb3"])
@pytest.mark.parametrize("field", ["end", "bootstrap"])
def test_a_limit_in_the_middle_of_a_rollout_shows(there: str, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = load("algorithms", "a2c")
    real = kind.credit
    monkeypatch.setattr(kind, "credit", lambda self, of: real(self, replace(of, **{field: torch.zeros_like(getattr(of, field))})))
    assert not agree(there, "gae")
