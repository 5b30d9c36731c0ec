"""Where Stable-Baselines3 differs from our rules on purpose, each place shown by a number."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms import tanh_gaussian
from algorithms.base import Batch, Forward
from bench.checks import batches
from bench.peers import Agreement, sb3, valued
from bench.peers.compared import SEEDS, difference, gap, largest, segments
from bench.peers.sb3_rules import dqn, ppo_loss, sac
from bench.peers.valued import loss_apart, slope
from bench.registry import load

PPO: dict[str, Any] = {"gamma": 0.99, "value_coef": 1.0, "value_clip": None}


def mean_loss(rule: Any, of: Batch, now: Forward, batch_size: int) -> Tensor:
    """() the mean of its minibatches' losses."""
    settings = sb3.on_policy(rule) | {"clip_range": rule.clip, "batch_size": batch_size}
    return torch.stack(sb3.minibatches(sb3.rolled_out("PPO", of, **settings), now)).mean()


def ppo() -> Iterator[Agreement]:
    """How it normalises advantages, weighs and clips values, and ratios without a bound."""
    rule, plain = (load("algorithms", "ppo")(**PPO | {"whiten": on}) for on in (True, False))
    apart: dict[str, list[float]] = {name: [] for name in ("parts", "no parts", "deviation", "half", "clip", "far")}
    for of, now in segments():
        ours = batches.step(rule, now, of)[0]
        apart["parts"].append(gap(mean_loss(rule, of, now, 32), ours))
        apart["no parts"].append(gap(mean_loss(plain, of, now, 32), batches.step(plain, now, of)[0]))
        apart["deviation"].append(gap(ppo_loss(rule, of, now), ours))
        apart["half"].append(gap(ppo_loss(rule, of, now, vf_coef=0.5), batches.step(replace(rule, value_coef=0.5), now, of)[0]))
        apart["clip"].append(gap(ppo_loss(rule, of, now, clip_range_vf=0.3), batches.step(replace(rule, value_clip=0.3), now, of)[0]))
        far = replace(now, logp=of.old_logp + 30)
        apart["far"].append(gap(ppo_loss(rule, of, far), batches.step(rule, far, of)[0]))
    found = {name: largest(differences) for name, differences in apart.items()}
    note = "it whitens advantages within each minibatch, ours over the rollout batch: here three minibatches of 32 steps"
    yield difference("ppo", "loss", "batch_size=32", found["parts"], note)
    yield difference("ppo", "loss", "batch_size=32, whiten=False", found["no parts"], "agrees where neither whitens", most=1e-12)
    note = "it divides by the deviation plus 1e-8, ours by the root of the variance plus 1e-8"
    yield difference("ppo", "loss", "batch_size=96", found["deviation"], note, least=1e-12, most=2e-8)
    note = "its value loss is a whole squared error, ours half of one: its vf_coef = 0.5 is our value_coef = 1"
    yield difference("ppo", "loss", "vf_coef=0.5, value_coef=0.5", found["half"], note)
    note = "its clip_range_vf takes the clipped value's error alone; ours the larger of that and the plain one"
    yield difference("ppo", "loss", "value_clip=0.3", found["clip"], note)
    note = "a log-ratio is not held within +-20, so at 30 and A < 0 the loss explodes"
    yield difference("ppo", "loss", "log-ratio of 30", found["far"], note)


def gae() -> Iterator[Agreement]:
    """What its buffer is made of."""
    rule, apart = load("algorithms", "a2c")(gamma=0.99, lam=0.95), []
    for of, _ in segments():
        buffer = sb3.rolled_out("A2C", of, np.float32, **sb3.on_policy(rule)).rollout_buffer
        apart.append(gap(rule.credit(of).advantage, torch.from_numpy(buffer.advantages).T))
    note = "its rollout buffer is float32 unless made float64, as it is for what is compared above"
    yield difference("gae", "advantage", "gamma=0.99, lam=0.95", largest(apart), note, least=1e-9, most=1e-5)


def double() -> Iterator[Agreement]:
    """What it lacks."""
    plain, rule = (load("algorithms", "dqn")(double=on) for on in (False, True))
    found = largest(loss_apart(rule, dqn(plain, seed), "q")[0] for seed in SEEDS)
    yield difference("dqn", "q loss", "double=True", found, "it has no double DQN")


def density() -> Iterator[Agreement]:
    """The constant within its density, on a batch and where tanh is saturated, and its temperature's loss."""
    rule = load("algorithms", "sac")()
    found = largest(loss_apart(rule, sac(rule, seed, epsilon=1e-6), "policy")[0] for seed in SEEDS)
    note = "its density has log(1 - a^2 + 1e-6), ours the exact slope of tanh; with its epsilon at 0 they agree, as above"
    yield difference("sac", "policy loss", "epsilon=1e-06", found, note, least=1e-9)
    before = torch.tensor([[7.0]], dtype=torch.float64)
    exact = tanh_gaussian.log_density(torch.cat([before, before * 0], -1), before)
    off, on = (gap(exact, _density(before, epsilon)) for epsilon in (1e-6, 0.0))
    yield difference("sac", "density", "u=7", off, "the same for one action of tanh(7), in nats", least=0.25)
    yield difference("sac", "density", "u=7, epsilon=0", on, "agrees there, but for its cancellation, with its epsilon at 0", most=1e-9)


def _density(before: Tensor, epsilon: float) -> Tensor:
    kind = importlib.import_module("stable_baselines3.common.distributions").SquashedDiagGaussianDistribution
    found = kind(1, epsilon).proba_distribution(before, torch.zeros_like(before)).log_prob(before.tanh(), before)
    return torch.as_tensor(found)


def temperature() -> Iterator[Agreement]:
    """Which function of the temperature its loss multiplies."""
    rule = load("algorithms", "sac")()
    linear, scaled = [], []
    for seed in SEEDS:
        posed = sac(rule, seed)
        ours = valued.losses(replace(rule, temperature_loss="linear"), posed)["log_temperature"]
        (weight,) = posed.weights["log_temperature"]
        slopes = [slope(loss, [weight]) for loss in (ours, posed.losses["log_temperature"])]
        linear.append(gap(*slopes))
        scaled.append(gap(slopes[0], slopes[1] * weight.exp()))
    note = "its temperature's loss multiplies the logarithm; temperature_loss=linear is the paper's"
    yield difference("sac", "log_temperature gradient", "temperature_loss=linear", largest(linear), note)
    yield difference("sac", "log_temperature gradient", "times alpha", largest(scaled), "agrees times the temperature", most=1e-12)


def sac_differences() -> Iterator[Agreement]:
    """All of SAC's."""
    yield from density()
    yield from temperature()


CASES = {"ppo": ppo, "dqn": double, "sac": sac_differences, "gae": gae}
