"""Random transitions for value rules, and their losses on networks that a peer has made, beside the peer's own losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from algorithms.value import Networks, Transitions
from bench.checks.batches import Draw
from bench.peers import Agreement
from bench.peers.compared import SEEDS, gap, largest, shown
from bench.registry import load

ROWS, OBSERVATION, ACTIONS = 24, 3, 4  # transitions, numbers of an observation, discrete actions
DIMENSIONS = 2  # of a continuous action
WIDTH = 16  # of the two hidden layers
EXACT = 1e-12


def transitions(seed: str, rule: Any, discrete: bool, reward: float = 2.0) -> Transitions:
    """24 transitions, a third of which end the world. Observations are whole in float32, the rest is float64.

    Where the rule sums rewards of n steps, some transitions hold fewer.
    """
    draw = Draw(f"peers:transitions:{seed}", shape=(ROWS,))
    seen = Draw(draw.name, shape=(ROWS, OBSERVATION))
    obs, after = (seen.normal(what).float().double() for what in ("observation", "next observation"))
    steps = 1 + (draw.uniform("steps") * rule.n_step).long()
    return Transitions(
        obs=obs,
        action=(draw.uniform("action") * ACTIONS).long() if discrete else Draw(draw.name, shape=(ROWS, DIMENSIONS)).normal("action").tanh(),
        reward=reward * draw.normal("reward"),
        next_obs=after,
        terminal=(draw.uniform("terminal") < 1 / 3).double(),
        discount=torch.as_tensor(rule.gamma, dtype=torch.float64) ** steps,
    )


@torch.no_grad()
def fill(module: nn.Module, name: str, scale: float) -> None:
    """Makes a module float64, with weights of that deviation, times one over the root of a layer's inputs, from a named source."""
    module.double()
    for i, weight in enumerate(module.parameters()):
        wide = weight.shape[-1] if weight.dim() > 1 else 1
        weight.copy_(scale / wide**0.5 * Draw(f"peers:weights:{name}:{i}", shape=tuple(weight.shape)).normal("start"))


def normal(*shape: int) -> Tensor:
    """Standard normal numbers from the global source, as torch's distributions draw them."""
    return torch.randn(shape, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class Posed:
    """One batch with a peer's networks and its answers."""

    batch: Transitions
    nets: Networks  # the peer's, by our names for them and in our shapes
    weights: Mapping[str, Iterable[Tensor]]  # what each loss moves
    losses: Mapping[str, Tensor]  # () the peer's, by the name of what they move
    noise: Mapping[str, Tensor] = field(default_factory=dict)
    probes: Mapping[str, Tensor] = field(default_factory=dict)  # () the peer's numbers for diagnostics of ours


def losses(rule: Any, posed: Posed) -> dict[str, Tensor]:
    """() each of our losses, by the name of what it moves. Nothing is moved between them."""
    return {name: loss.mean() for name, loss in rule.updates(posed.nets, posed.batch, posed.noise)}


def apart(rule: Any, posed: Posed) -> Iterator[tuple[str, float]]:
    """Each loss, its slope along all weights that it moves, and each diagnostic, with how far the two sides are apart.

    Raises KeyError where one side moves something that the other does not.
    """
    ours = losses(rule, posed)
    if ours.keys() != posed.losses.keys():
        raise KeyError(f"ours moves {', '.join(ours)}, the peer {', '.join(posed.losses)}")
    for name, theirs in posed.losses.items():
        yield f"{name} loss", gap(ours[name], theirs)
        yield f"{name} gradient", gap(*(slope(loss, posed.weights[name]) for loss in (ours[name], theirs)))
    if posed.probes:
        found = rule.probes(posed.nets, posed.batch, posed.noise)
        yield from ((name, gap(found[name], theirs)) for name, theirs in posed.probes.items())


def slope(loss: Tensor, weights: Iterable[Tensor]) -> Tensor:
    """All of a loss's derivatives in a row, 0 where a weight does not matter."""
    along = list(weights)
    found = torch.autograd.grad(loss, along, retain_graph=True, allow_unused=True)
    return torch.cat([torch.zeros_like(w).flatten() if g is None else g.flatten() for w, g in zip(along, found, strict=True)])


def loss_apart(rule: Any, posed: Posed, name: str, scale: float = 1.0) -> tuple[float, float]:
    """How far the named loss of the peer, times `scale`, and its slope are from ours."""
    ours, theirs = losses(rule, posed)[name], scale * posed.losses[name]
    return gap(ours, theirs), gap(*(slope(loss, posed.weights[name]) for loss in (ours, theirs)))


@dataclass(frozen=True, kw_only=True)
class ValueCounterpart:
    """A peer's version of one of our value rules."""

    rule: str
    function: str  # the peer's own name for it
    pose: Callable[[Any, str], Posed]  # from our rule, for its settings, and a seed
    settings: tuple[dict[str, Any], ...] = ({},)
    tolerance: float = EXACT
    coarse: Mapping[str, float] = field(default_factory=dict)  # other tolerances, by quantity

    def agreements(self) -> Iterator[Agreement]:
        """Every loss and slope, and the diagnostics that the peer knows."""
        for settings in self.settings:
            rule = load("algorithms", self.rule)(**settings)
            found: dict[str, list[float]] = {}
            for seed in SEEDS:
                for what, difference in apart(rule, self.pose(rule, seed)):
                    found.setdefault(what, []).append(difference)
            for what, differences in found.items():
                yield Agreement(
                    rule=self.rule,
                    what=what,
                    settings=shown(settings),
                    difference=largest(differences),
                    tolerance=self.coarse.get(what, self.tolerance),
                    note=self.function,
                )
