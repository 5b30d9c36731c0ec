"""Each rule that Stable-Baselines3 has a counterpart of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from algorithms.base import Batch, Forward
from bench.peers import Agreement, sb3
from bench.peers.compared import Counterpart, cases, chance, gap, largest, segments, shown
from bench.peers.valued import DIMENSIONS, EXACT, ROWS, Posed, ValueCounterpart, normal, transitions
from bench.registry import load

WHITENED = 2e-8  # its deviation plus 1e-8 against the root of our variance plus 1e-8
CALM = 0.3  # deviation of its policy's weights, with which tanh stays away from 1


def ppo_loss(rule: Any, of: Batch, now: Forward, **settings: Any) -> Tensor:
    """() one minibatch that is the whole batch."""
    peer = sb3.rolled_out("PPO", of, **(sb3.on_policy(rule) | {"clip_range": rule.clip} | settings))
    (loss,) = sb3.minibatches(peer, now)
    return loss


def a2c_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    """() its single step."""
    (loss,) = sb3.minibatches(sb3.rolled_out("A2C", of, **sb3.on_policy(rule)), now)
    return loss


def gae() -> Iterator[Agreement]:
    """Advantages and targets of its rollout buffer, which a limit cuts in the middle."""
    for settings in ({"gamma": 0.99, "lam": 0.95}, {"gamma": 0.9, "lam": 0.7}, {"gamma": 0.9, "lam": 1.0}):
        rule = load("algorithms", "a2c")(**settings)
        apart: dict[str, list[float]] = {"advantage": [], "target": []}
        for of, _ in segments():
            credit, buffer = rule.credit(of), sb3.rolled_out("A2C", of, **sb3.on_policy(rule)).rollout_buffer
            for what, ours, theirs in (("advantage", credit.advantage, buffer.advantages), ("target", credit.target, buffer.returns)):
                apart[what].append(gap(ours, torch.from_numpy(theirs).T))
        for what, found in apart.items():
            note = "collect_rollouts, RolloutBuffer.compute_returns_and_advantage"
            yield Agreement(rule="gae", what=what, settings=shown(settings), difference=largest(found), tolerance=EXACT, note=note)


def dqn(rule: Any, seed: str) -> Posed:
    """One step of its DQN, with a delayed copy that has other weights."""
    batch = transitions(seed, rule, discrete=True)
    peer = sb3.made("DQN", sb3.DISCRETE, buffer_size=1, gamma=rule.gamma, max_grad_norm=1e9)
    sb3.fill_parts(seed, 2.0, q=peer.q_net, q_target=peer.q_net_target)
    (loss,) = sb3.trained(peer, batch, seed, discounts=rule.n_step > 1)
    nets = {"q": peer.q_net, "q_target": peer.q_net_target}
    return Posed(batch=batch, nets=nets, weights={"q": list(peer.q_net.parameters())}, losses={"q": loss})


def sac_peer(rule: Any, seed: str, scale: float = CALM) -> Any:
    """Its SAC with the rule's settings, a temperature of its own, and a delayed copy that has other weights."""
    coefficient = "auto" if rule.learns_temperature else rule.temperature
    wanted = "auto" if rule.target_entropy is None else rule.target_entropy
    peer = sb3.made("SAC", sb3.BOX, buffer_size=1, gamma=rule.gamma, ent_coef=coefficient, target_entropy=wanted)
    sb3.fill_parts(seed, scale, policy=peer.actor)
    sb3.fill_parts(seed, 1.5, q=peer.critic, q_target=peer.critic_target)
    if rule.learns_temperature:
        peer.log_ent_coef = torch.tensor([-0.7], dtype=torch.float64, requires_grad=True)
    else:
        peer.ent_coef_tensor = peer.ent_coef_tensor.double().fill_(rule.temperature)
    return peer


def sac(rule: Any, seed: str, scale: float = CALM, epsilon: float = 0.0) -> Posed:
    """One step of its SAC, with `epsilon` beside the slope of its tanh."""
    batch, peer = transitions(seed, rule, discrete=False), sac_peer(rule, seed, scale)
    peer.actor.action_dist.epsilon = epsilon
    found = sb3.trained(peer, batch, seed, discounts=rule.n_step > 1)
    names = ["log_temperature"] * rule.learns_temperature + ["q", "policy"]
    with chance(seed):
        noise = {name: normal(ROWS, DIMENSIONS) for name in ("now", "next")}
    weights = {"q": list(peer.critic.parameters()), "policy": list(peer.actor.parameters()), "log_temperature": [peer.log_ent_coef]}
    losses = dict(zip(names, found, strict=True))
    return Posed(batch=batch, nets=sac_nets(peer), weights=weights, losses=losses, noise=noise)


def sac_nets(peer: Any) -> dict[str, Any]:
    """Its networks as ours are called."""

    def policy(obs: Tensor) -> Tensor:
        hidden = peer.actor.latent_pi(obs)
        return torch.cat([peer.actor.mu(hidden), peer.actor.log_std(hidden)], -1)

    def twin(critic: Any) -> Any:
        return lambda x: torch.stack([net(x) for net in critic.q_networks], -3)

    critics = {"q": twin(peer.critic), "q_target": twin(peer.critic_target)}
    return {"policy": policy, "log_temperature": lambda: peer.log_ent_coef} | critics


CASES = {
    **cases(
        Counterpart(
            rule="ppo",
            function="PPO.train, one minibatch",
            loss=ppo_loss,
            settings=(
                {"gamma": 0.99, "value_coef": 1.0, "value_clip": None},
                {"gamma": 0.9, "lam": 0.7, "clip": 0.05, "value_clip": None, "entropy_bonus": 0.05},
                {"gamma": 0.9, "whiten": False, "value_coef": 1.0, "value_clip": None},
            ),
            tolerance=WHITENED,
            worlds=True,
        ),
        Counterpart(
            rule="a2c",
            function="A2C.train",
            loss=a2c_loss,
            settings=(
                {"gamma": 0.99, "value_coef": 1.0},
                {"gamma": 0.9, "lam": 0.7, "entropy_bonus": 0.05},
                {"gamma": 0.9, "whiten": True},
            ),
            tolerance=WHITENED,
            worlds=True,
        ),
        ValueCounterpart(rule="dqn", function="DQN.train", pose=dqn, settings=({}, {"gamma": 0.9}, {"gamma": 0.9, "n_step": 3})),
        ValueCounterpart(
            rule="sac",
            function="SAC.train, epsilon = 0 in its density",
            pose=sac,
            settings=(
                {},
                {"gamma": 0.9, "target_entropy": -0.5, "n_step": 3},
                {"learn_temperature": False, "temperature": 0.3},
            ),
        ),
    ),
    "gae": gae,
}
