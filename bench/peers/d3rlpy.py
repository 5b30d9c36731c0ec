"""d3rlpy's own implementations, given our transitions: its losses are taken where it computes them, or would go down them.

Networks are made float64. It still sums a critic's loss in float32, which its slope does not feel.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from algorithms.value import Transitions
from bench.peers.compared import chance
from bench.peers.valued import ACTIONS, DIMENSIONS, OBSERVATION, ROWS, WIDTH, fill, normal

ENCODERS = dict.fromkeys(("CQL", "SAC", "DiscreteSAC"), ("actor_encoder_factory", "critic_encoder_factory"))

LEARNT = {"log_temp": "initial_temperature", "log_alpha": "initial_alpha"}


def made(name: str, seed: str, scales: dict[str, float], **settings: Any) -> Any:
    """The implementation of one of its algorithms, with weights from a named source: `scales` has the deviation of each network's."""
    small = importlib.import_module("d3rlpy.models.encoders").VectorEncoderFactory([WIDTH, WIDTH])
    encoders = dict.fromkeys(ENCODERS.get(name, ("encoder_factory",)), small)
    config = getattr(importlib.import_module("d3rlpy.algos"), f"{name}Config")
    algorithm = config(**encoders, **settings).create(device="cpu:0")
    discrete = name.startswith("Discrete") or "DQN" in name
    with chance(f"peers:d3rlpy:{name}"):
        algorithm.create_impl((OBSERVATION,), ACTIONS if discrete else DIMENSIONS)
    modules = algorithm.impl.modules
    for each in fields(modules):
        module = getattr(modules, each.name)
        if each.name in scales:
            fill(module, f"d3rlpy:{each.name}:{seed}", scales[each.name])
        elif each.name in LEARNT and module is not None:
            next(module.double().parameters()).data.fill_(math.log(getattr(algorithm.config, LEARNT[each.name])))
    return algorithm.impl


def batch(of: Transitions, gamma: float) -> Any:
    """The transitions as it holds them. Its discount is gamma to the number of steps."""
    row = {"rewards": of.reward, "terminals": of.terminal, "intervals": (of.discount.log() / torch.tensor(gamma).double().log()).round()}
    action = of.action.unsqueeze(-1) if of.discrete else of.action
    return importlib.import_module("d3rlpy.torch_utility").TorchMiniBatch(
        observations=of.obs,
        actions=action,
        next_observations=of.next_obs,
        next_actions=action,
        returns_to_go=torch.zeros_like(of.reward).unsqueeze(-1),
        device="cpu:0",
        **{name: x.unsqueeze(-1) for name, x in row.items()},
    )


def twin(critics: Any) -> Any:
    """Its continuous critics as ours is called."""
    return lambda x: torch.stack([net(x[..., :OBSERVATION], x[..., OBSERVATION:]).q_value for net in critics], -3)


def discrete_twin(critics: Any) -> Any:
    """The same for critics of all actions at once."""
    return lambda x: torch.stack([net(x).q_value for net in critics], -3)


def gaussian(policy: Any) -> Any:
    """Its policy's mean and logarithm of the deviation, before their bounds."""

    def output(obs: Tensor) -> Tensor:
        hidden = policy._encoder(obs)
        return torch.cat([policy._mu(hidden), policy._logstd(hidden)], -1)

    return output


def parameter(of: Any, size: int = 1) -> Any:
    """One of its learnt numbers, `size` times over."""
    return lambda: next(of.parameters()).view(1).expand(size)


def spread(name: str, samples: int) -> dict[str, Tensor]:
    """Our noise for the numbers that its conservative loss draws from a named source: `samples` times the batch for each of three."""
    with chance(name):
        here, there = (normal(samples, ROWS, DIMENSIONS).flatten(0, 1) for _ in range(2))
        uniform = torch.empty(ROWS * samples, DIMENSIONS).uniform_(-1, 1).double()
    anywhere = uniform.view(ROWS, samples, DIMENSIONS).transpose(0, 1).reshape(-1, DIMENSIONS)
    return {"here": here, "there": there, "anywhere": (anywhere + 1) / 2}


def one(name: str) -> Tensor:
    """(B, A) the numbers that a single draw of its policy takes from a named source."""
    with chance(name):
        return normal(ROWS, DIMENSIONS)
