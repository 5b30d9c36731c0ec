"""From a log's episodes to transitions that a value rule can learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import torch

from algorithms.value import Transitions
from bench.control.worlds import Worlds
from bench.errors import ConfigError, MissingError
from tasks.log import LoggedEpisode, LogTask

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def episodes_of(task: LogTask) -> list[LoggedEpisode]:
    """The whole log. Raises MissingError where it, or what reads it, is not there, ConfigError for one without a step."""
    try:
        found = [episode for episode in task.episodes() if len(episode.reward)]
    except (OSError, ImportError) as error:
        raise MissingError(str(error)) from error
    if not found:
        raise ConfigError(f"the log of {task.id} holds no step")
    return found


def transitions(episodes: Sequence[LoggedEpisode], worlds: Worlds, gamma: float, n_step: int) -> Transitions:
    """(M, ...) every step of the log, with the rewards of up to `n_step` steps summed as far as its episode goes."""
    parts = [_of(episode, worlds, gamma, n_step) for episode in episodes]
    return Transitions(*(torch.from_numpy(numpy.concatenate(x)) for x in zip(*parts, strict=True)))


def _of(episode: LoggedEpisode, worlds: Worlds, gamma: float, n_step: int) -> tuple[Any, ...]:
    """The fields of Transitions for one episode."""
    steps, obs = len(episode.reward), worlds.seen(episode.obs)
    first = numpy.arange(steps)
    reward, last = numpy.zeros(steps), numpy.minimum(first + n_step, steps)
    for k in range(min(n_step, steps)):
        there = first + k < steps
        reward[there] += gamma**k * episode.reward[first[there] + k]
    terminal = (last == steps) & episode.terminated
    floats = reward, obs[last], terminal, gamma ** (last - first)
    return obs[:-1], worlds.tried(episode.action), *(numpy.asarray(x, dtype=numpy.float32) for x in floats)


def facts(episodes: Sequence[LoggedEpisode]) -> dict[str, float]:
    """How much there is and how good it is, as probes."""
    totals = numpy.array([float(numpy.sum(e.reward)) for e in episodes])
    quantiles = {f"log/return_q{round(100 * q)}": float(numpy.quantile(totals, q)) for q in QUANTILES}
    size = float(sum(len(e.reward) for e in episodes))
    return {"log/episodes": float(len(episodes)), "log/transitions": size, "log/return_mean": float(totals.mean())} | quantiles
