"""From specifications to what trains them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from algorithms.base import PolicyGradient
from algorithms.value import ValueRule
from bench import registry
from bench.config import RunSpec
from bench.control.episodes import Episodes
from bench.control.evaluation import Evaluator
from bench.control.segments import Segments
from bench.control.setup import Plan, Trainer
from bench.control.training import Run
from bench.control.value_learning import Log, Replay
from bench.control_settings import ControlSettings, EpisodeSettings, LogSettings, ReplaySettings, SegmentSettings
from bench.errors import ConfigError
from tasks.env import EnvTask
from tasks.log import LogTask


def build(specs: Sequence[RunSpec]) -> Run:
    """The runs of specifications that differ in their seed alone, ready to train side by side.

    Raises MissingError for what is not installed, ConfigError where the rule cannot take the task's kind of action.
    """
    spec = specs[0]
    task: EnvTask = registry.load("tasks", spec.task.name)(**spec.task.settings)
    rule = registry.load("algorithms", spec.algorithm.name)(**spec.algorithm.settings)
    assert isinstance(spec.train, ControlSettings)
    plan = Plan(task, [spec.seed for spec in specs], spec.budget)
    try:
        trainer = _trainer(rule, plan, spec.train)
    except ConfigError:
        raise
    except (MemoryError, RuntimeError) as error:
        if "alloc" not in str(error).lower():
            raise
        raise ConfigError(f"{error}; lower train.hidden, train.buffer, train.envs or the number of seeds") from error
    except ValueError as error:
        raise ConfigError(f"{spec.algorithm.name} cannot learn {spec.task.name}: {error}") from error
    return Run(trainer, Evaluator(task, spec.train.eval_episodes), spec.train)


def _trainer(rule: Any, plan: Plan, settings: ControlSettings) -> Trainer:
    if isinstance(settings, SegmentSettings):
        assert isinstance(rule, PolicyGradient)
        return Segments(rule, plan, settings)
    if isinstance(settings, EpisodeSettings):
        assert isinstance(rule, PolicyGradient)
        return Episodes(rule, plan, settings)
    assert isinstance(rule, ValueRule)
    if isinstance(settings, ReplaySettings):
        return Replay(rule, plan, settings)
    assert isinstance(settings, LogSettings) and isinstance(plan.task, LogTask)
    return Log(rule, plan, settings)
