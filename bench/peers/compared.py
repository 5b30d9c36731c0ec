"""Random batches that reach every branch of a rule, and the largest difference between two answers to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Forward
from bench.chance import number
from bench.checks import batches
from bench.peers import Agreement, Case
from bench.registry import load

SEEDS = ("alder", "birch", "cedar", "dogwood")
ACTIVE = 0.6  # deviation of the log-ratios: a third of the actions lie outside a clip of 0.2 on each side, a few beyond a ratio of 3
Question = tuple[Batch, Forward]


def question(seed: str, spread: float = ACTIVE, empty: bool = False, outcome: bool = False) -> Question:
    """12 paths of 1 to 8 actions in three groups, one of which has no spread. Float64.

    With `empty`, one path has no action; with `outcome`, a path's whole reward lies on its last action.
    """
    name = f"peers:{seed}"
    of = batches.batch(name)
    if empty:
        lengths = of.mask.sum(-1)
        lengths[5] = 0
        of = batches.batch(name, lengths=lengths)
    last = of.mask & (of.mask.cumsum(-1) == of.mask.sum(-1, keepdim=True))
    even = (of.group == of.group[-1]).unsqueeze(-1)
    reward = ops.masked(torch.where(even, 0.7 * last.to(of.reward), of.reward), of.mask)
    if outcome:
        reward = last * reward.sum(-1, keepdim=True)
    of = replace(of, reward=reward, bootstrap=None, history=None)
    return of, batches.forward(of, name, spread)


def questions(spread: float = ACTIVE, empty: bool = False, outcome: bool = False) -> Iterator[Question]:
    """The batch of every seed."""
    return (question(seed, spread, empty, outcome) for seed in SEEDS)


def segments() -> Iterator[Question]:
    """Batches as a vector of worlds gives them: 12 rows of 8 steps without a gap, with episodes that end in the middle of a row, or are cut
    there by a limit, and rows whose last episode goes on."""
    for seed in SEEDS:
        name = f"peers:segments:{seed}"
        of = batches.batch(name, lengths=torch.full((batches.PATHS,), batches.ACTIONS))
        draw = batches.Draw(name)
        end, cut = draw.uniform("end") < 0.3, draw.uniform("cut") < 0.5
        open_ended = ~end
        open_ended[:, :-1] = False
        bootstrap = draw.normal("bootstrap") * (end & cut | open_ended)
        of = replace(of, reward=draw.normal("step reward"), end=end, bootstrap=bootstrap, history=None)
        yield of, batches.forward(of, name, ACTIVE)


@contextmanager
def chance(name: str) -> Iterator[None]:
    """The global sources of chance, from which a peer draws, start as the name says; afterwards they are as they were."""
    numbers = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number(name))
        np.random.seed(number(name) % 2**32)
        try:
            yield
        finally:
            np.random.set_state(numbers)


@contextmanager
def recorded() -> Iterator[list[Tensor]]:
    """The losses that a peer goes down meanwhile, with their graphs, in its order. It finds no gradients, so it moves nothing."""
    found: list[Tensor] = []
    with patch.object(Tensor, "backward", lambda loss, *_, **__: found.append(loss)):
        yield found


def gap(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference; NaN where either holds one."""
    return float((ours.detach() - theirs.detach()).abs().max())


def largest(differences: Iterable[float]) -> float:
    """The largest; NaN where one is."""
    values = list(differences)
    return math.nan if any(map(math.isnan, values)) else max(values)


def shown(settings: dict[str, Any]) -> str:
    """Settings as they are typed."""
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "defaults"


@dataclass(frozen=True, kw_only=True)
class Counterpart:
    """A peer's version of one of our rules. Its functions take our rule, for its settings."""

    rule: str
    function: str  # the peer's own name for it
    loss: Callable[[Any, Batch, Forward], Tensor]
    advantage: Callable[[Any, Batch], Tensor] | None = None
    settings: tuple[dict[str, Any], ...] = ({},)
    tolerance: float
    empty: bool = False  # whether the peer agrees on paths without actions
    outcome: bool = False  # whether it knows rewards of whole paths only
    worlds: bool = False  # whether it knows rows of steps without a gap only

    def asked(self) -> Iterator[Question]:
        """The batches that the peer can take."""
        return segments() if self.worlds else questions(empty=self.empty, outcome=self.outcome)

    def agreements(self) -> Iterator[Agreement]:
        """Loss, its slope along everything the policy and the critic say, and the advantage where the peer has a function for it."""
        for settings in self.settings:
            rule = load("algorithms", self.rule)(**settings)
            apart: dict[str, list[float]] = {}
            for of, now in self.asked():
                for what, difference in self._apart(rule, of, now):
                    apart.setdefault(what, []).append(difference)
            for what, differences in apart.items():
                yield Agreement(
                    rule=self.rule,
                    what=what,
                    settings=shown(settings),
                    difference=largest(differences),
                    tolerance=self.tolerance,
                    note=self.function,
                )

    def _apart(self, rule: Any, of: Batch, now: Forward) -> Iterator[tuple[str, float]]:
        if self.advantage is not None:
            theirs = ops.masked(self.advantage(rule, of), of.mask)
            yield "advantage", gap(rule.credit(of).advantage, theirs)
        loss, slopes = batches.step(rule, now, of)
        leaves = batches.leaves(now)
        value = self.loss(rule, of, leaves)
        found = batches.gradients(value, leaves)
        yield "loss", gap(loss, value)
        yield "gradient", gap(torch.stack(list(slopes.values())), torch.stack(list(found.values())))


class Compared(Protocol):
    """A counterpart of one rule."""

    @property
    def rule(self) -> str: ...

    def agreements(self) -> Iterator[Agreement]: ...


def cases(*counterparts: Compared) -> dict[str, Case]:
    """The comparisons of each rule that one of the counterparts is for."""

    def of(rule: str) -> Iterator[Agreement]:
        return (found for each in counterparts if each.rule == rule for found in each.agreements())

    return {each.rule: partial(of, each.rule) for each in counterparts}


def difference(
    rule: str, what: str, settings: str, found: float, note: str, *, least: float | None = None, most: float | None = None
) -> Agreement:
    """Where a peer differs by design. It holds where the number is what the note makes of it: at most `most` where that is given, and at
    least `least`, which is 1e-3 where neither is."""
    least = (0.0 if most is not None else 1e-3) if least is None else least
    return Agreement(rule=rule, what=what, settings=settings, difference=found, tolerance=most, note=note, by_design=True, least=least)
