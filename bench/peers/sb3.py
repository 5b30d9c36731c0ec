"""Stable-Baselines3's own training methods, run on our batches without a world: its losses are taken where it would go down them.

Everything it computes is float64: its networks and buffers are made so, and its observations hold numbers that survive its float32.
"""

from __future__ import annotations

import importlib
from collections import deque
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from algorithms.base import Batch, Forward
from algorithms.value import Transitions
from bench.peers.compared import chance, recorded
from bench.peers.valued import ACTIONS, DIMENSIONS, OBSERVATION, WIDTH, fill

DISCRETE = gymnasium.spaces.Discrete(ACTIONS)
BOX = gymnasium.spaces.Box(-1.0, 1.0, (DIMENSIONS,))


class World(gymnasium.Env[Any, Any]):
    """What it asks the shapes of."""

    def __init__(self, actions: gymnasium.Space[Any], observation: int) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation,), np.float64)
        self.action_space = actions


def made(name: str, actions: gymnasium.Space[Any], observation: int = OBSERVATION, worlds: int = 1, **settings: Any) -> Any:
    """One of its algorithms, ready to train."""
    library = importlib.import_module("stable_baselines3")
    vector = importlib.import_module("stable_baselines3.common.vec_env").DummyVecEnv([lambda: World(actions, observation)] * worlds)
    with chance(f"peers:sb3:{name}"):
        kind = {"net_arch": [WIDTH, WIDTH]}
        found = getattr(library, name)("MlpPolicy", vector, policy_kwargs=kind, device="cpu", **settings)
    found._logger = importlib.import_module("stable_baselines3.common.logger").Logger(None, [])
    found._current_progress_remaining = 1.0
    return found


# From single transitions


def fill_parts(seed: str, scale: float, **parts: nn.Module) -> None:
    """Gives each of its networks other weights, in float64, to which observations are widened after its own cast to float32."""
    for name, part in parts.items():
        fill(part, f"sb3:{name}:{seed}", scale)
        for inner in part.modules():
            if type(inner).__name__ == "FlattenExtractor":
                inner.register_forward_hook(lambda _module, _given, out: out.double())


def trained(algorithm: Any, batch: Transitions, name: str, discounts: bool) -> list[Tensor]:
    """() the losses of one gradient step on a batch, its random numbers drawn from a named source. `discounts` hands it those of the
    batch, for rewards of several steps; else it uses its gamma."""
    samples = importlib.import_module("stable_baselines3.common.type_aliases").ReplayBufferSamples(
        observations=batch.obs,
        actions=batch.action.unsqueeze(-1) if batch.discrete else batch.action,
        next_observations=batch.next_obs,
        dones=batch.terminal.unsqueeze(-1),
        rewards=batch.reward.unsqueeze(-1),
        discounts=batch.discount.unsqueeze(-1) if discounts else None,
    )
    algorithm.replay_buffer = SimpleNamespace(sample=lambda *_, **__: samples)
    algorithm.tau = 0.0
    with chance(name), recorded() as losses:
        algorithm.train(gradient_steps=1, batch_size=len(batch.reward))
    return losses


# From rollouts


class Script:
    """A vector of worlds that gives what a batch holds. An observation is the number of the step among all, and the value there."""

    def __init__(self, of: Batch) -> None:
        assert of.old_value is not None and of.bootstrap is not None and of.end is not None
        self.of, self.step_of_all, (self.num_envs, self.length) = of, 0, of.mask.shape
        self.cut = of.end & (of.bootstrap != 0)
        numbers = torch.arange(of.mask.numel(), dtype=torch.float64).view(of.mask.shape)
        self.seen = torch.stack([numbers, of.old_value], -1).numpy()
        self.after = torch.stack([numbers, of.bootstrap], -1).numpy()

    def step(self, _actions: Any) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        t, self.step_of_all = self.step_of_all, self.step_of_all + 1
        assert self.of.end is not None
        seen = self.seen[:, t + 1] if t + 1 < self.length else self.after[:, t]
        infos = [{"terminal_observation": self.after[n, t], "TimeLimit.truncated": bool(self.cut[n, t])} for n in range(self.num_envs)]
        return seen, self.of.reward[:, t].numpy().copy(), self.of.end[:, t].numpy(), infos


def rolled_out(name: str, of: Batch, buffer_type: type = np.float64, **settings: Any) -> Any:
    """One of its algorithms after it has collected the batch's steps and computed advantages, both with its own methods."""
    worlds, length = of.mask.shape
    if name == "PPO":
        settings = {"n_epochs": 1, "batch_size": worlds * length} | settings
    found = made(name, DISCRETE, 2, worlds, n_steps=length, **settings)
    script, buffer = Script(of), found.rollout_buffer
    forget = buffer.reset

    def reset() -> None:
        forget()
        for field in ("rewards", "returns", "episode_starts", "values", "log_probs", "advantages"):
            setattr(buffer, field, getattr(buffer, field).astype(buffer_type))

    buffer.reset = reset
    old = of.old_logp.flatten()
    found.policy.forward = lambda obs: (torch.zeros(worlds, dtype=torch.long), obs[:, 1:], old[obs[:, 0].long()])
    found.policy.predict_values = lambda obs: obs[:, 1:]
    found._last_obs, found._last_episode_starts = script.seen[:, 0], np.ones(worlds, dtype=bool)
    found.ep_info_buffer, found.ep_success_buffer = deque(), deque()
    nothing = SimpleNamespace(
        on_rollout_start=lambda: None, update_locals=lambda _: None, on_step=lambda: True, on_rollout_end=lambda: None
    )
    assert found.collect_rollouts(script, nothing, buffer, length)
    return found


def minibatches(algorithm: Any, now: Forward, name: str = "order") -> list[Tensor]:
    """() the losses of one pass over what was collected, with what the current policy and critic say in place of its networks."""
    logp, entropy, value = (x.flatten() for x in (now.logp, now.entropy, now.value) if x is not None)

    def evaluate(obs: Tensor, _actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        place = obs[:, 0].long()
        return value[place], logp[place], entropy[place]

    algorithm.policy.evaluate_actions = evaluate
    with chance(name), recorded() as losses:
        algorithm.train()
    return losses


def on_policy(rule: Any) -> dict[str, Any]:
    """Our settings by its names. Its value loss is a whole squared error, ours half of one."""
    return {
        "gamma": rule.gamma,
        "gae_lambda": rule.lam,
        "vf_coef": rule.value_coef / 2,
        "ent_coef": rule.entropy_bonus,
        "normalize_advantage": rule.whiten,
    }
