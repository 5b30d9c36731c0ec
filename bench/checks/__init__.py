"""What every plug-in promises, as functions that anyone can run on theirs.

A contract takes one plug-in instance and raises AssertionError where the promise is broken, DoesNotApply where it asks nothing of this
one. The contracts of a kind are the CONTRACTS lists of the modules that `MODULES` names; a kind gains contracts by gaining a module.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench import registry
from bench.checks.expect import DoesNotApply
from bench.errors import unknown

Contract = Callable[[Any], None]

MODULES = {
    "algorithms": ("settings", "rules", "gradients", "critics", "preferences", "learning", "values", "value_slopes", "chains"),
    "tasks": ("settings", "tasks", "worlds"),
    "metrics": ("settings", "metrics", "seeds"),
    "samplers": ("settings", "samplers"),
}


@dataclass(frozen=True)
class Outcome:
    """One promise, kept or broken."""

    title: str
    passed: bool
    detail: str = ""  # what broke, or why nothing was asked
    applies: bool = True


def contracts(kind: str, plug_in: Any = None) -> list[tuple[str, Contract]]:
    """The promises of a kind, each with its title; of a plug-in, where one is given, those that are made by its sort.

    A module whose promises only some sort makes names its base class, or several, in `ASKS`. Raises ConfigError for an unknown kind.
    """
    if kind not in MODULES:
        raise unknown("kind of plug-in", kind, MODULES)
    modules = [importlib.import_module(f"bench.checks.{name}") for name in MODULES[kind]]
    asked = [m for m in modules if plug_in is None or isinstance(plug_in, getattr(m, "ASKS", object))]
    return [pair for module in asked for pair in module.CONTRACTS]


def run(kind: str, name: str) -> Iterator[Outcome]:
    """Check one plug-in, with its default settings, against every contract of its kind.

    Raises ConfigError for an unknown name and for a plug-in that cannot be loaded.
    """
    plug_in = registry.load(kind, name)
    try:
        instance = plug_in()
    except Exception as error:  # any refusal is the finding
        yield Outcome("can be built from its defaults", False, f"{type(error).__name__}: {error}")
        return
    for title, contract in contracts(kind, instance):
        try:
            contract(instance)
        except DoesNotApply as reason:
            yield Outcome(title, True, str(reason), applies=False)
        except Exception as error:  # a plug-in that crashes breaks the contract at hand and no other
            detail = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            yield Outcome(title, False, detail)
        else:
            yield Outcome(title, True)
