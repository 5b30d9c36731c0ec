"""The density of a Gaussian squashed into [-1, 1] by tanh, exact also where tanh is saturated."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import softplus

LOG_STD = -20.0, 2.0  # bounds of the logarithm of the deviation


def parts(output: Tensor) -> tuple[Tensor, Tensor]:
    """(..., A) mean and logarithm of the deviation, before squashing, from a network's (..., 2 A) output."""
    mean, log_std = output.chunk(2, -1)
    return mean, log_std.clamp(*LOG_STD)


def sample(output: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """(..., A) actions in [-1, 1] from a network's (..., 2 A) output and standard normal (..., A) noise, and their (...) log-density.

    The density is over [-1, 1], not over a world's own bounds. Gradients flow through the action (reparameterisation).
    """
    mean, log_std = parts(output)
    before = mean + log_std.exp() * noise
    gaussian = -noise.square() / 2 - log_std - math.log(2 * math.pi) / 2
    return before.tanh(), (gaussian - log_slope(before)).sum(-1)


def log_density(output: Tensor, before: Tensor) -> Tensor:
    """(...) log-density over [-1, 1] of the action tanh(before), (..., A) before."""
    mean, log_std = parts(output)
    gaussian = -((before - mean) / log_std.exp()).square() / 2 - log_std - math.log(2 * math.pi) / 2
    return (gaussian - log_slope(before)).sum(-1)


def log_slope(before: Tensor) -> Tensor:
    """log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), which does not cancel for large |u|."""
    return 2 * (math.log(2) - before - softplus(-2 * before))


def mode(output: Tensor) -> Tensor:
    """(..., A) the squashed mean."""
    return parts(output)[0].tanh()
