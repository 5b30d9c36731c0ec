"""From what a user asks for to a full specification, for tasks on Gymnasium and on logs."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from bench import registry
from bench.config import CONTROL, Choice, RunSpec, build, recorded
from bench.control_settings import ControlSettings, EpisodeSettings, LogSettings, OnPolicySettings, ReplaySettings, SegmentSettings
from bench.effects import check_effects
from bench.errors import ConfigError, MissingError
from bench.recipes import recipe

MANY = ("gym", "minari", "rg")  # tasks that stand for any environment or data set, written gym:ID, minari:ID or rg:NAME


def named(name: str) -> tuple[str, dict[str, Any]]:
    """A task's name and settings from what the command line calls it: its own name, Gymnasium's, or gym:ID, minari:ID and rg:NAME."""
    known = registry.names("tasks")
    kind, colon, wanted = name.partition(":")
    if name in known or (colon and kind not in MANY):
        return name, {}
    worlds = known if not colon or kind == "gym" else []
    ids = {task.id: each for each in worlds if not is_log(task := registry.load("tasks", each)) and _fixed(task)}
    found = ids.get(wanted if colon else name)
    if found is not None:
        return found, {}
    return (kind, {"id": wanted}) if colon else (name, {})


def _fixed(task: type[Any]) -> bool:
    """Whether a task class names one environment."""
    return isinstance(getattr(task, "id", None), str) and "id" not in {field.name for field in fields(task)}


def is_log(task: type[Any]) -> bool:
    """Whether a task is a fixed log of what others did."""
    return bool(getattr(task, "logged", False))


def check_named(task: str, task_class: type[Any], given: dict[str, Any]) -> None:
    """Raises ConfigError for a task that stands for many, where none is named."""
    if task in MANY and not given.get("id"):
        raise ConfigError(f"{task} stands for many tasks; name one, such as --task {task}:{task_class.id}")


def specify(algorithm: str, task: str, seed: int, budget: int, given: dict[str, dict[str, Any]]) -> RunSpec:
    """The specification of one run. Raises ConfigError for names, values and pairings that cannot work."""
    rule_class, task_class = registry.load("algorithms", algorithm), registry.load("tasks", task)
    check_named(task, task_class, given["task"])
    kind = _way(algorithm, rule_class, task, task_class)
    known = recipe(task, "log" if kind is LogSettings else CONTROL, algorithm)
    rule = build(rule_class, "algo", known.algorithm | given["algo"])
    settings: ControlSettings = build(kind, "train", known.train | given["train"])
    budget = budget or known.budget
    for part in ("sampler", "reward", "model"):
        if given[part]:
            raise ConfigError(f"{part}.{next(iter(given[part]))} is for text; {task} has no {part} to set")
    _check(algorithm, rule, settings, seed, budget)
    check_effects(algorithm, rule, settings, given, _without_effect(algorithm, rule, settings))
    made = build(task_class, "task", given["task"])
    return RunSpec(
        algorithm=Choice(algorithm, recorded(rule)),
        task=Choice(task, recorded(made)),
        tier=CONTROL,
        sampler=Choice("log", {"sha256": _digest(made)}) if is_log(task_class) else Choice("none"),
        model=Choice("none"),
        seed=seed,
        budget=budget,
        train=settings,
    )


def _digest(log: Any) -> str:
    """What a log holds, so that another content is another run. Raises MissingError where it, or what reads it, is not there."""
    try:
        found: str = log.digest()
    except (OSError, ImportError) as error:
        raise MissingError(str(error)) from error
    return found


def _way(algorithm: str, rule: type[Any], task: str, task_class: type[Any]) -> type[ControlSettings]:
    """How the rule gathers what it learns from. Raises ConfigError where it cannot learn such a task."""
    from algorithms.base import PolicyGradient
    from algorithms.value import ValueRule

    logged = is_log(task_class)
    if issubclass(rule, ValueRule):
        if logged:
            return LogSettings
        if rule.offline == "only":
            logs = ", ".join(name for name in registry.names("tasks") if is_log(registry.load("tasks", name)))
            raise ConfigError(f"{algorithm} learns from a fixed log, and {task} is a world to act in; choose one of {logs}")
        return ReplaySettings
    if logged:
        raise ConfigError(f"{algorithm} learns from what it does itself, and {task} is a fixed log; choose cql, dqn, sac or bc")
    if not issubclass(rule, PolicyGradient) or rule.verdicts or (rule.control and algorithm != "untrained"):
        raise ConfigError(f"{algorithm} needs a verifier's verdicts on texts, and {task} has none; choose another algorithm or a text task")
    return SegmentSettings if rule.critic else EpisodeSettings


def _check(algorithm: str, rule: Any, settings: ControlSettings, seed: int, budget: int) -> None:
    """Raises ConfigError for numbers that cannot work together."""
    if seed < 0:
        raise ConfigError(f"the seed is {seed}; it must be 0 or more")
    if budget < 1:
        raise ConfigError(f"the budget is {budget}; it must be 1 or more")
    if rule.reference:
        raise ConfigError(f"algo.kl is {rule.kl:g}, but on Gymnasium there is no start model to stay near; set it to 0")
    if isinstance(settings, LogSettings) and getattr(rule, "target_clock", "gradient") != "gradient":
        raise ConfigError("algo.target_clock is environment, and a log has no environment steps; set algo.target_clock=gradient")
    if isinstance(settings, SegmentSettings) and budget < settings.envs * settings.steps:
        raise ConfigError(
            f"the budget is {budget} environment steps, less than one rollout batch of {settings.envs} x {settings.steps}; "
            "raise --budget, or lower train.envs or train.steps"
        )
    if isinstance(settings, EpisodeSettings) and rule.group and settings.episodes < 2:
        raise ConfigError(f"{algorithm} compares episodes from one start state, and train.episodes is {settings.episodes}; set 2 or more")
    if isinstance(settings, ReplaySettings) and budget <= settings.learning_starts:
        raise ConfigError(
            f"the budget is {budget} environment steps, and learning starts after {settings.learning_starts}; "
            "raise --budget or lower train.learning_starts"
        )


def _without_effect(name: str, rule: Any, settings: ControlSettings) -> dict[str, str]:
    """What this way of training, or this rule in it, makes no use of."""
    found = {}
    if isinstance(settings, OnPolicySettings) and not any(hasattr(rule, clip) for clip in ("clip", "clip_low", "clip_high")):
        found["train.clip_end"] = f"{name} has no clip range; leave it out, or choose an algorithm that has one"
    if isinstance(settings, SegmentSettings) and rule.updates_once:
        found["train.batch"] = f"{name} takes one optimizer step per rollout batch, of train.envs x train.steps; set those"
    if isinstance(settings, LogSettings):
        unused = "from a log nothing is explored; leave it out"
        found |= dict.fromkeys(("algo.epsilon_start", "algo.epsilon_end", "algo.epsilon_share"), unused)
    if not rule.learns:
        found["algo.entropy_bonus"] = f"{name} leaves the policy as it is; leave it out, or choose another algorithm"
    return found
