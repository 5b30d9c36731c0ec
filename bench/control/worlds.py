"""Gymnasium's vector environments behind one face: whatever their autoreset mode, a step gives true transitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from algorithms.value import Space
from bench.errors import ConfigError, MissingError
from tasks.env import EnvTask

Floats = NDArray[numpy.float32]
Flags = NDArray[numpy.bool_]


@dataclass(frozen=True)
class Step:
    """One step of n columns."""

    reward: Floats  # (n,)
    terminated: Flags  # (n,) the world ended
    truncated: Flags  # (n,) a limit cut the episode, and the world had not ended
    next_obs: Floats  # (n, O) the true state after the action
    obs: Floats  # (n, O) the state to act in next: another episode's first where this one is over
    valid: Flags  # (n,) False where the column took no action, but began an episode


@dataclass(frozen=True)
class Episode:
    """A finished episode."""

    column: int
    total: float
    length: int
    truncated: bool


class Worlds:
    """n columns of a task. Observations are float32 vectors, discrete ones one-hot; continuous actions lie in [-1, 1]."""

    def __init__(self, task: EnvTask, columns: int, start: Callable[[int, int], int]) -> None:
        """`start` gives the seed of a column's k-th episode (of the first one only, where Gymnasium resets by itself).

        Raises MissingError for what is not installed, ConfigError for an environment or a kind of space that cannot be used.
        """
        try:
            self.env = task.make(columns)
        except (ImportError, OSError) as error:
            raise MissingError(str(error)) from error
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.columns, self.start = columns, start
        self.mode = AutoresetMode(self.env.metadata["autoreset_mode"])
        self._encode = _encoder(task.id, self.env.single_observation_space)
        self._low, self._high = _bounds(task.id, self.env.single_action_space)
        self.space = _space(self.env.single_observation_space, self.env.single_action_space)
        self.limit = _limit(task.id, self.env)
        self.finished: list[Episode] = []  # for the caller to take and clear

    def reset(self) -> Floats:
        """Begin an episode in every column; (n, O) first states."""
        self.episode = numpy.full(self.columns, -1)
        self._dummy = numpy.zeros(self.columns, dtype=numpy.bool_)
        self._total, self._length = numpy.zeros(self.columns), numpy.zeros(self.columns, dtype=int)
        self._actions: list[NDArray[Any]] = []
        self._since = numpy.zeros(self.columns, dtype=int)  # actions held before each column's episode
        return self._begin(numpy.ones(self.columns, dtype=numpy.bool_))

    def step(self, action: NDArray[Any]) -> Step:
        """Take (n,) or (n, A) actions; those outside the bounds are clipped."""
        self._remember(action)
        raw, reward, ended, cut, info = self.env.step(self.real(action))
        next_obs, valid = self._encode(raw), ~self._dummy
        ended, cut = ended & valid, cut & valid & ~ended
        done = ended | cut
        obs = next_obs
        if done.any() and self.mode is AutoresetMode.SAME_STEP:
            next_obs = obs.copy()
            next_obs[done] = self._encode(numpy.stack(list(info["final_obs"][done])))
        self._tally(numpy.where(valid, reward, 0.0), valid, done, cut)
        self._dummy = done if self.mode is AutoresetMode.NEXT_STEP else numpy.zeros_like(done)
        if done.any() and self.mode is AutoresetMode.DISABLED:
            obs = self._begin(done)
        return Step(reward.astype(numpy.float32), ended, cut, next_obs, obs, valid)

    def seen(self, raw: Any) -> Floats:
        """(n, O) observations as a policy sees them, from n of the world's own."""
        return self._encode(raw)

    def tried(self, raw: Any) -> NDArray[Any]:
        """(n,) or (n, A) actions as a policy chooses them, from n of the world's own."""
        if self._low is None or self._high is None:
            return numpy.asarray(raw, dtype=numpy.int64).reshape(len(raw))
        flat = numpy.asarray(raw, dtype=numpy.float32).reshape(len(raw), -1)
        return ((flat - self._low) / (self._high - self._low) * 2 - 1).clip(-1, 1).astype(numpy.float32)

    def close(self) -> None:
        """Give back what the environments hold."""
        self.env.close()

    def _begin(self, which: Flags) -> Floats:
        """Begin the next episode in some columns; (n, O) the states of all."""
        self.episode[which] += 1
        self._total[which], self._length[which] = 0.0, 0
        self._since[which] = len(self._actions)
        seeds: Any = [None] * self.columns
        for column in numpy.flatnonzero(which).tolist():
            seeds[column] = self.start(column, int(self.episode[column]))
        options: dict[str, Any] = {} if which.all() else {"options": {"reset_mask": which.copy()}}
        return self._encode(self.env.reset(seed=seeds, **options)[0])

    def real(self, action: NDArray[Any]) -> NDArray[Any]:
        """The world's own actions."""
        if self._low is None or self._high is None:
            return action
        shape = self.env.single_action_space.shape or ()
        return (self._low + (action.clip(-1, 1) + 1) / 2 * (self._high - self._low)).reshape(len(action), *shape).astype(numpy.float32)

    def _tally(self, reward: NDArray[Any], valid: Flags, done: Flags, cut: Flags) -> None:
        self._total += reward
        self._length += valid
        for column in numpy.flatnonzero(done).tolist():
            self.finished.append(Episode(column, float(self._total[column]), int(self._length[column]), bool(cut[column])))
        self._total[done], self._length[done] = 0.0, 0

    def _remember(self, action: NDArray[Any]) -> None:
        """Hold the actions of the episodes at hand; with the seed of its start they are an episode's whole state."""
        if self.mode is not AutoresetMode.DISABLED:
            return
        self._actions.append(action)
        oldest = int(self._since.min())
        if oldest > 1000:
            del self._actions[:oldest]
            self._since -= oldest

    @property
    def exact(self) -> bool:
        """Whether `restore` gives back the very state that `state` saw."""
        return self.mode is AutoresetMode.DISABLED

    def state(self, columns: range) -> dict[str, NDArray[Any]]:
        """What brings these columns back to where they are."""
        since = self._since[columns.start : columns.stop]
        oldest = int(since.min())
        kept = [a[columns.start : columns.stop] for a in self._actions[oldest:]]
        none = numpy.zeros((0, len(columns)), dtype=int) if self.space.discrete else numpy.zeros((0, len(columns), self.space.actions))
        actions = numpy.stack(kept) if kept else none
        return {"episode": self.episode[columns.start : columns.stop].copy(), "since": since - oldest, "actions": actions}

    def restore(self, parts: list[dict[str, NDArray[Any]]]) -> Floats:
        """Begin the episodes that `state` saw, column after column, and take their actions again; (n, O) the states to act in."""
        obs = self.reset()
        if not self.exact:
            return obs
        ages = numpy.concatenate([len(part["actions"]) - part["since"] for part in parts])
        wanted = numpy.concatenate([part["episode"] for part in parts])
        longest = int(ages.max())
        each = [_padded(part["actions"], longest) for part in parts]
        for at in range(longest + 1):
            begins = ages == longest - at
            if begins.any():
                self.episode[begins] = wanted[begins] - 1
                obs = self._begin(begins)
            if at < longest:
                obs = self.step(numpy.concatenate([actions[at] for actions in each])).obs
        self.finished.clear()
        return obs


def _limit(name: str, env: Any) -> int:
    """Steps after which a vector environment's columns cut an episode. Raises ConfigError where they never do."""
    own, columns = getattr(env, "max_episode_steps", None), getattr(env, "envs", None)
    if own is None and columns and columns[0].spec:
        own = columns[0].spec.max_episode_steps
    if not own or own < 1:
        env.close()
        raise ConfigError(f"{name} has no time limit, so an episode may never end; set one, such as task.limit=1000")
    return int(own)


def _padded(actions: NDArray[Any], length: int) -> NDArray[Any]:
    """(length, n, ...) the actions with idle ones before them."""
    return numpy.concatenate([numpy.zeros((length - len(actions), *actions.shape[1:]), dtype=actions.dtype), actions])


def _encoder(name: str, space: Any) -> Callable[[Any], Floats]:
    """From a batch of the space's observations to (n, O) float32."""
    if isinstance(space, Box):
        return lambda x: numpy.asarray(x, dtype=numpy.float32).reshape(len(x), -1)
    if isinstance(space, Discrete):
        rows = numpy.eye(int(space.n), dtype=numpy.float32)
        return lambda x: rows[numpy.asarray(x) - space.start]
    raise ConfigError(
        f"{name} has observations of kind {type(space).__name__}; Box and Discrete are known (gymnasium.wrappers can flatten others)"
    )


def _bounds(name: str, space: Any) -> tuple[Floats | None, Floats | None]:
    """The flat bounds of continuous actions; none for discrete ones."""
    if isinstance(space, Discrete) and space.start == 0:
        return None, None
    if isinstance(space, Box) and space.is_bounded():
        return space.low.reshape(-1), space.high.reshape(-1)
    raise ConfigError(f"{name} has actions {space}; discrete ones that start at 0 and continuous ones with bounds are known")


def _space(observation: Any, action: Any) -> Space:
    wide = int(observation.n) if isinstance(observation, Discrete) else int(numpy.prod(observation.shape))
    discrete = isinstance(action, Discrete)
    return Space(wide, int(action.n) if discrete else int(numpy.prod(action.shape)), discrete)
