"""How a run on Gymnasium, or on a log, gathers experience and learns from it: one dataclass for each way, with what applies to it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from bench.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """What every way has in common."""

    lr: float = 3e-4
    lr_end: float = 1.0  # share of it that is left at the end of the budget, linear in between
    eps: float = 1e-8  # of Adam or RMSProp
    grad_clip: float = 0.0  # on each seed's global norm; 0: none
    hidden: tuple[int, ...] = (64, 64)  # units of each hidden layer, written 64|64
    activation: Literal["tanh", "relu"] = "relu"
    records: int = 50  # evenly spaced over the budget
    eval_points: int = 10  # evaluations after the first one, evenly spaced over the budget
    eval_episodes: int = 20  # of each kind, deterministic and stochastic

    zero: ClassVar[tuple[str, ...]] = ("lr_end", "grad_clip")  # what may be 0

    def __post_init__(self) -> None:
        """Raises ConfigError for a number that no run could have."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not (value > 0 or (value == 0 and field.name in self.zero)):
                raise ConfigError(
                    f"train.{field.name} is {value}; it must be {'0 or more' if field.name in self.zero else 'greater than 0'}"
                )
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"train.hidden is {self.hidden}; it takes the units of each hidden layer, such as 64|64")
        for name in ("lr_end", "clip_end"):
            if getattr(self, name, 1) > 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it is the share of it that is left at the end, at most 1")
        if self.eval_points > self.records:
            raise ConfigError(f"train.eval_points is {self.eval_points}, more than there are records; set train.records to as many")


@dataclass(frozen=True, kw_only=True)
class OnPolicySettings(ControlSettings):
    """Policy-gradient rules: many optimizer steps on what the policy has just done."""

    eps: float = 1e-5
    grad_clip: float = 0.5
    activation: Literal["tanh", "relu"] = "tanh"
    optimizer: Literal["adam", "rmsprop"] = "adam"
    epochs: int = 1  # passes over a rollout batch; a rule that steps once takes one
    clip_end: float = 1.0  # share of the rule's clip range that is left at the end of the budget, linear in between

    zero: ClassVar[tuple[str, ...]] = (*ControlSettings.zero, "clip_end")


@dataclass(frozen=True, kw_only=True)
class SegmentSettings(OnPolicySettings):
    """Rules with a critic: segments of a fixed number of steps, whose last state the critic values."""

    envs: int = 8  # per seed
    steps: int = 128  # of each, between updates
    batch: int = 64  # actions per optimizer step at the most; a rollout batch is split evenly
    epochs: int = 10


@dataclass(frozen=True, kw_only=True)
class EpisodeSettings(OnPolicySettings):
    """Rules without a critic: whole episodes."""

    lr: float = 1e-3
    starts: int = 4  # start states per rollout batch
    episodes: int = 8  # from each of them; a rule that compares no groups starts each one elsewhere
    minibatches: int = 4  # optimizer steps per pass

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minibatches > self.starts * self.episodes:
            raise ConfigError(f"train.minibatches is {self.minibatches}, but a rollout batch holds {self.starts * self.episodes} episodes")


@dataclass(frozen=True, kw_only=True)
class ReplaySettings(ControlSettings):
    """Value rules in a world: single transitions, drawn at random from the newest `buffer` of them."""

    envs: int = 1  # per seed
    buffer: int = 100_000  # transitions per seed
    batch: int = 64  # transitions per gradient step
    learning_starts: int = 100  # environment steps with random actions before the first gradient step
    train_every: int = 1  # environment steps, of all of a seed's environments together, between bursts of gradient steps
    gradient_steps: int = 1  # in a burst

    zero: ClassVar[tuple[str, ...]] = (*ControlSettings.zero, "learning_starts")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("buffer", "train_every"):
            if getattr(self, name) % self.envs:
                raise ConfigError(f"train.{name} is {getattr(self, name)}, which {self.envs} environments (train.envs) cannot share evenly")


@dataclass(frozen=True, kw_only=True)
class LogSettings(ControlSettings):
    """Value rules on a log: single transitions, drawn at random from all of it. The budget is in gradient steps."""

    batch: int = 64  # transitions per gradient step


KINDS = (SegmentSettings, EpisodeSettings, ReplaySettings, LogSettings)
