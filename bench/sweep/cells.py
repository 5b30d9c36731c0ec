"""From plans to full specifications, one after another: nothing is trained before all names and values are known to be right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, get_args

from bench import registry, resolve_control
from bench.config import CONTROL, RunSpec
from bench.errors import ConfigError, unknown
from bench.resolve import REWARDS, Request, resolve
from bench.sweep.plan import Plan
from tasks.base import Tier


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    label: str  # the algorithm, and the variant's name
    spec: RunSpec


@dataclass(frozen=True)
class Skipped:
    """An algorithm and a task that cannot go together."""

    label: str
    task: str
    reason: str


def cells(plans: Sequence[Plan]) -> Iterator[Cell | Skipped]:
    """Every cell of every plan, lazily; a pair that cannot go together once, in the place of its cells.

    Raises ConfigError for a name or a value that cannot be, naming the cell, and for an algorithm or a task of which no cell is left;
    MissingError for a model that is not there.
    """
    for plan in plans:
        check_names(plan)
        left: set[str] = set()
        skipped: list[Skipped] = []
        for task, algorithm in product(plan.task, plan.algo):
            found = pair(plan, algorithm, task)
            if isinstance(found, Skipped):
                skipped.append(found)
                yield found
                continue
            left |= {algorithm, task}
            yield from (Cell(label(plan, algorithm), replace(found, seed=seed)) for seed in plan.seeds)
        for name in (*plan.algo, *plan.task):
            if name not in left:
                reasons = dict.fromkeys(each.reason for each in skipped if name in (each.label.partition(" ")[0], each.task))
                raise ConfigError(f"nothing of {name} can be run: {'; '.join(reasons)}")


def label(plan: Plan, algorithm: str) -> str:
    """What a row of the sweep is called."""
    return f"{algorithm} {plan.name}".strip()


def check_names(plan: Plan) -> None:
    """Raises ConfigError for an unknown name."""
    for name in plan.algo:
        registry.load("algorithms", name)
    for name in plan.task:
        _task(name)
    if plan.sampler:
        registry.load("samplers", plan.sampler)
    if plan.tier and plan.tier not in (*get_args(Tier), CONTROL):
        raise unknown("tier", plan.tier, get_args(Tier))
    if plan.reward not in REWARDS:
        raise unknown("source of rewards", plan.reward, REWARDS)
    for name, _ in map(_prefix, plan.set):
        if name and name not in (*plan.algo, *plan.task):
            raise unknown("algorithm or task of this sweep", name, (*plan.algo, *plan.task))


def _task(name: str) -> type[Any]:
    return registry.load("tasks", resolve_control.named(name)[0])


def pair(plan: Plan, algorithm: str, task: str) -> RunSpec | Skipped:
    """The specification of the pair's first seed. Raises ConfigError where it is a setting that is at fault, not the pair."""
    bare = _request(plan, algorithm, task)
    try:
        resolve(bare)
    except ConfigError as error:
        return Skipped(label(plan, algorithm), task, str(error))
    asked = replace(bare, budget=plan.budget, settings=settings(plan, algorithm, task))
    try:
        return resolve(asked)
    except ConfigError as error:
        raise ConfigError(f"{label(plan, algorithm)} on {task}: {error}{_remedy(plan, asked)}") from error


def _request(plan: Plan, algorithm: str, task: str) -> Request:
    """What is asked of a pair, without settings and budget."""
    control = [CONTROL in _task(each).tiers for each in (task, *plan.task)]
    if control[0] and not all(control):  # what is said of texts is for those beside it
        return Request(algorithm=algorithm, task=task, reward=plan.reward, seed=plan.seeds[0])
    given = {name: getattr(plan, name) for name in ("tier", "sampler", "model", "reward")}
    return Request(algorithm=algorithm, task=task, seed=plan.seeds[0], **given)


def settings(plan: Plan, algorithm: str, task: str) -> tuple[str, ...]:
    """What is set for a pair: first what is for all, so that what is for the algorithm or the task alone wins."""
    found = [(name, pair) for name, pair in map(_prefix, plan.set) if name in ("", algorithm, task)]
    return tuple(pair for _, pair in sorted(found, key=lambda each: bool(each[0])))


def _prefix(setting: str) -> tuple[str, str]:
    """`grpo:algo.clip_high=0.3` as the name and the rest; no name where it is for all."""
    key, equals, value = setting.partition("=")
    name, _, rest = key.rpartition(":")
    return name, f"{rest}{equals}{value}"


def _remedy(plan: Plan, asked: Request) -> str:
    """How to give a setting to those alone that can have it, where it is one setting that this pair cannot have."""
    for setting in plan.set:
        others = tuple(each for each in asked.settings if each != setting)
        if others != asked.settings and _stands(replace(asked, settings=others)):
            beside = {name: _request(plan, name, asked.task) for name in plan.algo if name != asked.algorithm}
            beside |= {name: _request(plan, asked.algorithm, name) for name in plan.task if name != asked.task}
            for name, request in beside.items():
                if _stands(replace(request, settings=(setting,))):
                    return f". To set it for {name} alone: --set {name}:{setting}"
    return ""


def _stands(request: Request) -> bool:
    try:
        resolve(request)
    except ConfigError:
        return False
    return True
