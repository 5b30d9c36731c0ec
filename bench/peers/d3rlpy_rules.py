"""Each value rule that d3rlpy has a counterpart of."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from algorithms import tanh_gaussian
from bench.checks.batches import Draw
from bench.peers import Agreement, d3rlpy
from bench.peers.compared import SEEDS, cases, chance, gap, largest, recorded
from bench.peers.valued import ACTIONS, EXACT, Posed, ValueCounterpart, transitions

SUMMED = 5e-6  # a loss of order 100 that is summed in float32
TEMPERATURE = math.exp(-0.7)
WIDE = 1.5  # deviation of a policy's weights, with which some logarithms of deviations are above their bound


def dqn(rule: Any, seed: str) -> Posed:
    """One step of its DQN or double DQN, with a delayed copy that has other weights."""
    of, name = transitions(seed, rule, discrete=True), "DoubleDQN" if rule.double else "DQN"
    peer = d3rlpy.made(name, seed, {"q_funcs": 1.5, "targ_q_funcs": 1.5}, gamma=rule.gamma)
    rows = d3rlpy.batch(of, rule.gamma)
    loss = peer.compute_loss(rows, peer.compute_target(rows)).loss
    return Posed(batch=of, nets=all_values(peer), weights={"q": list(peer.modules.q_funcs.parameters())}, losses={"q": loss})


def all_values(peer: Any) -> dict[str, Any]:
    """Its single critic of all actions, and the delayed copy."""
    (critic,), (delayed,) = peer.modules.q_funcs, peer.modules.targ_q_funcs
    return {"q": lambda obs: critic(obs).q_value, "q_target": lambda obs: delayed(obs).q_value}


def discrete_cql(rule: Any, seed: str) -> Posed:
    """One step of its discrete CQL, which stands beside double DQN."""
    of = transitions(seed, rule, discrete=True)
    peer = d3rlpy.made("DiscreteCQL", seed, {"q_funcs": 1.5, "targ_q_funcs": 1.5}, gamma=rule.gamma, alpha=rule.weight)
    rows = d3rlpy.batch(of, rule.gamma)
    found, weights = peer.compute_loss(rows, peer.compute_target(rows)), {"q": list(peer.modules.q_funcs.parameters())}
    return Posed(batch=of, nets=all_values(peer), weights=weights, losses={"q": found.loss}, probes={"cql/gap": found.conservative_loss})


def cql_peer(rule: Any, seed: str, samples: int) -> Any:
    """Its continuous CQL with the rule's settings; it always has a multiplier, which learns where ours has a threshold."""
    scales = {"policy": WIDE, "q_funcs": 1.0, "targ_q_funcs": 1.0}
    held = {"alpha_threshold": rule.threshold or 0.0} | ({"alpha_learning_rate": 0.0} if rule.threshold is None else {"initial_alpha": 0.6})
    learnt = {"initial_temperature": TEMPERATURE if rule.learn_temperature else rule.temperature}
    learnt |= {} if rule.learn_temperature else {"temp_learning_rate": 0.0}
    backup, weight = {"soft_q_backup": rule.backup == "soft"}, {"conservative_weight": rule.weight, "n_action_samples": samples}
    return d3rlpy.made("CQL", seed, scales, gamma=rule.gamma, **held, **learnt, **backup, **weight)


def cql(rule: Any, seed: str) -> Posed:
    """One step of its continuous CQL. It has one multiplier for both critics, moved by the mean of their gaps; ours by their sum."""
    of, peer = transitions(seed, rule, discrete=False), cql_peer(rule, seed, rule.samples)
    rows, losses = d3rlpy.batch(of, rule.gamma), {}
    with chance(f"{seed}:next"):
        target = peer.compute_target(rows)
    with chance(f"{seed}:around"), recorded() as found:
        critic = peer.compute_critic_loss(rows, target)
    if rule.threshold is not None:
        losses["log_multiplier"] = 2 * found[0]
    temperature, actor = actor_losses(peer, rows, f"{seed}:now")
    losses |= temperature | {"q": critic.critic_loss, "policy": actor}
    with chance(f"{seed}:around"):
        gaps = peer._compute_conservative_loss(rows.observations, rows.actions, rows.next_observations, rows.returns_to_go)
    gap_alone = (gaps / rule.weight + (rule.threshold or 0.0)).mean()
    return Posed(
        batch=of,
        nets=gaussian_nets(peer) | {"log_multiplier": d3rlpy.parameter(peer.modules.log_alpha, 2)},
        weights=moved(peer) | {"log_multiplier": list(peer.modules.log_alpha.parameters())},
        losses=losses,
        noise=draws(seed) | d3rlpy.spread(f"{seed}:around", rule.samples),
        probes={"cql/gap": gap_alone},
    )


def sac(rule: Any, seed: str) -> Posed:
    """One step of its SAC. Its critics' squared errors lack our 1/2."""
    of = transitions(seed, rule, discrete=False)
    learnt = {"initial_temperature": TEMPERATURE if rule.learns_temperature else rule.temperature}
    learnt |= {} if rule.learns_temperature else {"temp_learning_rate": 0.0}
    scales = {"policy": WIDE, "q_funcs": 1.0, "targ_q_funcs": 1.0}
    peer = d3rlpy.made("SAC", seed, scales, gamma=rule.gamma, **learnt)
    rows = d3rlpy.batch(of, rule.gamma)
    with chance(f"{seed}:next"):
        target = peer.compute_target(rows)
    temperature, actor = actor_losses(peer, rows, f"{seed}:now")
    losses = temperature | {"q": peer.compute_critic_loss(rows, target).critic_loss / 2, "policy": actor}
    return Posed(batch=of, nets=gaussian_nets(peer), weights=moved(peer), losses=losses, noise=draws(seed))


def discrete_sac(rule: Any, seed: str, reward: float = 0.2) -> Posed:
    """One step of its SAC for discrete actions. Its critics' loss is Huber's, so errors are kept below 1."""
    of = transitions(seed, rule, discrete=True, reward=reward)
    scales = {"policy": 1.5, "q_funcs": 0.2, "targ_q_funcs": 0.2}
    learnt = {"initial_temperature": 0.3 if rule.learns_temperature else rule.temperature}
    learnt |= {} if rule.learns_temperature else {"temp_learning_rate": 0.0}
    peer = d3rlpy.made("DiscreteSAC", seed, scales, gamma=rule.gamma, **learnt)
    rows, policy = d3rlpy.batch(of, rule.gamma), peer.modules.policy
    with recorded() as found:
        actor = peer.compute_actor_loss(rows)["loss"]
    critics = {"q": d3rlpy.discrete_twin(peer.modules.q_funcs), "q_target": d3rlpy.discrete_twin(peer.modules.targ_q_funcs)}
    own = {"policy": lambda obs: policy._fc(policy._encoder(obs)), "log_temperature": d3rlpy.parameter(peer.modules.log_temp)}
    losses = dict(zip(["log_temperature"], found, strict=False)) | {
        "q": peer.compute_critic_loss(rows, peer.compute_target(rows)),
        "policy": actor,
    }
    return Posed(batch=of, nets=critics | own, weights=moved(peer), losses=losses)


def actor_losses(peer: Any, rows: Any, name: str) -> tuple[dict[str, Tensor], Tensor]:
    """() the temperature's loss, where it learns, and the policy's."""
    with chance(name), recorded() as found:
        actor = peer.compute_actor_loss(rows, peer.modules.policy(rows.observations)).actor_loss
    return dict(zip(["log_temperature"], found, strict=False)), actor


def gaussian_nets(peer: Any) -> dict[str, Any]:
    """What its rules for continuous actions share."""
    modules = peer.modules
    critics = {"q": d3rlpy.twin(modules.q_funcs), "q_target": d3rlpy.twin(modules.targ_q_funcs)}
    return critics | {"policy": d3rlpy.gaussian(modules.policy), "log_temperature": d3rlpy.parameter(modules.log_temp)}


def moved(peer: Any) -> dict[str, list[Tensor]]:
    """What each loss moves."""
    parts = {"q": peer.modules.q_funcs, "policy": peer.modules.policy, "log_temperature": peer.modules.log_temp}
    return {name: list(part.parameters()) for name, part in parts.items()}


def draws(seed: str) -> dict[str, Tensor]:
    """Our noise for the two single draws."""
    return {name: d3rlpy.one(f"{seed}:{name}") for name in ("now", "next")}


def bc(rule: Any, seed: str) -> Posed:
    """Its cloning of discrete actions, without its pull of the logits to 0."""
    of, peer = transitions(seed, rule, discrete=True), d3rlpy.made("DiscreteBC", seed, {"imitator": 1.5}, beta=0.0)
    policy = peer.modules.imitator
    loss = peer.compute_loss(of.obs, of.action.unsqueeze(-1)).loss
    nets = {"policy": lambda obs: policy._fc(policy._encoder(obs))}
    return Posed(batch=of, nets=nets, weights={"policy": list(policy.parameters())}, losses={"policy": loss})


def continuous_bc(rule: Any, seed: str) -> Posed:
    """Its cloning of continuous actions, times their dimensions: it takes the mean over them, ours the sum."""
    of, peer = transitions(seed, rule, discrete=False), d3rlpy.made("BC", seed, {"imitator": 1.0})
    policy = peer.modules.imitator
    loss = of.action.shape[-1] * peer.compute_loss(of.obs, of.action).loss
    nets = {"policy": lambda obs: policy._fc(policy._encoder(obs))}
    return Posed(batch=of, nets=nets, weights={"policy": list(policy.parameters())}, losses={"policy": loss})


def density() -> Iterator[Agreement]:
    """The density of a squashed Gaussian at its draws, tanh saturated or not, with its slope."""
    kind, apart = importlib.import_module("d3rlpy.models.torch.distributions").SquashedGaussianDistribution, []
    slopes = []
    for seed in SEEDS:
        output = 2 * Draw(f"peers:density:{seed}", shape=(32, 4)).normal("output")
        mine, theirs = (output.clone().requires_grad_() for _ in range(2))
        mean, log_std = tanh_gaussian.parts(theirs)
        with chance(seed):
            action, logp = kind(mean, log_std.exp()).sample_with_log_prob()
        with chance(seed):
            ours = tanh_gaussian.sample(mine, torch.randn(32, 2, dtype=torch.float64))
        apart.append(max(gap(ours[0], action), gap(ours[1], logp.squeeze(-1))))
        slopes.append(gap(*(torch.autograd.grad(x.sum(), leaf)[0] for x, leaf in ((ours[1], mine), (logp, theirs)))))
    for what, found in (("value", apart), ("gradient", slopes)):
        note = "SquashedGaussianDistribution"
        yield Agreement(rule="tanh density", what=what, settings="", difference=largest(found), tolerance=EXACT, note=note)


LINEAR = {"temperature_loss": "linear"}
DISCRETE = LINEAR | {"target_entropy": 0.98 * math.log(ACTIONS)}
COARSE = {"q loss": SUMMED}
CASES = {
    **cases(
        ValueCounterpart(
            rule="dqn",
            function="DQNImpl, DoubleDQNImpl",
            pose=dqn,
            settings=({}, {"double": True}, {"gamma": 0.9, "n_step": 3, "double": True}),
            coarse=COARSE,
        ),
        ValueCounterpart(
            rule="sac",
            function="SACImpl",
            pose=sac,
            settings=(LINEAR, LINEAR | {"gamma": 0.9, "n_step": 3}, {"learn_temperature": False, "temperature": 0.3}),
            coarse=COARSE,
        ),
        ValueCounterpart(
            rule="sac",
            function="DiscreteSACImpl",
            pose=discrete_sac,
            settings=(DISCRETE, DISCRETE | {"gamma": 0.9}, {"learn_temperature": False, "temperature": 0.2}),
            coarse=COARSE,
        ),
        ValueCounterpart(
            rule="cql",
            function="DiscreteCQLImpl",
            pose=discrete_cql,
            settings=({}, {"weight": 4.0, "gamma": 0.9, "n_step": 3}, {"weight": 0.0}),
            coarse=COARSE,
        ),
        ValueCounterpart(
            rule="cql",
            function="CQLImpl",
            pose=cql,
            settings=(
                {"weight": 5.0},
                {"weight": 5.0, "threshold": 10.0, "samples": 4, "backup": "soft"},
                {"gamma": 0.9, "n_step": 3, "threshold": 2.0, "learn_temperature": False, "temperature": 0.3, "backup": "soft"},
            ),
            coarse=COARSE,
        ),
        ValueCounterpart(rule="bc", function="DiscreteBCImpl", pose=bc),
        ValueCounterpart(rule="bc", function="BCImpl, times the dimensions", pose=continuous_bc),
    ),
    "tanh density": density,
}
