"""Random transitions and small float64 networks for the contracts of value rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from algorithms.value import Network, Parameter, Space, Transitions, ValueRule
from bench.checks.batches import Draw, generator
from bench.checks.expect import expect

ROWS, OBSERVATION, HIDDEN = 6, 3, 8
SPACES = (Space(OBSERVATION, 4, discrete=True), Space(OBSERVATION, 2, discrete=False))
Weights = Mapping[str, list[Tensor]]  # of each layer (..., copies, in, out) and (..., copies, 1, out); a parameter's (..., size)
Losses = list[tuple[str, Tensor]]


@dataclass(frozen=True)
class Case:
    """A rule with everything that its losses take."""

    rule: ValueRule
    space: Space
    weights: Weights
    batch: Transitions
    noise: dict[str, Tensor]

    @property
    def parts(self) -> dict[str, Network | Parameter]:
        return self.rule.networks(self.space)

    @property
    def followers(self) -> list[str]:
        """Delayed copies."""
        return [name for name, part in self.parts.items() if isinstance(part, Network) and part.follows]

    @property
    def nets(self) -> dict[str, Callable[..., Tensor]]:
        return {name: evaluator(part, self.weights[name]) for name, part in self.parts.items()}

    def losses(self, nets: Mapping[str, Callable[..., Tensor]] | None = None) -> Losses:
        """What the rule yields, nothing being moved in between."""
        return list(self.rule.updates(self.nets if nets is None else nets, self.batch, self.noise))

    def map(self, change: Callable[[Tensor], Tensor]) -> Case:
        """Every tensor changed."""
        weights = {name: [change(w) for w in layers] for name, layers in self.weights.items()}
        return replace(self, weights=weights, batch=mapped(self.batch, change), noise={k: change(v) for k, v in self.noise.items()})

    def rows(self, index: Tensor) -> Case:
        """Some of the transitions, each with its own noise; for a case without axes in front."""
        each = {name: noise.unflatten(0, (-1, ROWS))[:, index].flatten(0, 1) for name, noise in self.noise.items()}
        return replace(self, batch=mapped(self.batch, lambda x: x[index]), noise=each)

    def with_batch(self, **changes: Any) -> Case:
        return replace(self, batch=replace(self.batch, **changes))


def cases(rule: ValueRule, name: str, lead: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> Iterator[Case]:
    """A random case for each kind of action that the rule takes, with `lead` axes in front of everything.

    A rule says by ValueError that a kind is not for it; one that takes neither breaks its contract.
    """
    taken = 0
    for space in SPACES:
        try:
            parts = rule.networks(space)
        except ValueError:
            continue
        taken += 1
        title = f"{name}:{'discrete' if space.discrete else 'continuous'}"
        noise = {
            key: (
                Draw(f"{title}:noise", dtype, (*lead, n.rows * ROWS, n.width)).normal
                if n.kind == "normal"
                else Draw(f"{title}:noise", dtype, (*lead, n.rows * ROWS, n.width)).uniform
            )(key)
            for key, n in rule.noise(space).items()
        }
        weights = {key: [w.to(dtype) for w in drawn(part, lead, f"{title}:{key}")] for key, part in parts.items()}
        yield Case(rule, space, weights, transitions(space, title, lead, dtype), noise)
    expect(taken, "the rule takes neither discrete nor continuous actions")


def transitions(space: Space, name: str, lead: tuple[int, ...], dtype: torch.dtype) -> Transitions:
    """6 transitions, of which one is an end and one has a discount of 0."""
    wide = Draw(name, dtype, (*lead, ROWS, OBSERVATION))
    row = Draw(name, dtype, (*lead, ROWS))
    terminal = torch.zeros_like(row.uniform("terminal"))
    terminal[..., 1] = 1.0
    discount = 0.5 + 0.5 * row.uniform("discount")
    discount[..., 2] = 0.0
    action = Draw(name, dtype, (*lead, ROWS, space.actions)).uniform("action")
    return Transitions(
        obs=wide.normal("obs"),
        action=action.argmax(-1) if space.discrete else 2 * action - 1,
        reward=row.normal("reward"),
        next_obs=wide.normal("next"),
        terminal=terminal,
        discount=discount,
    )


def drawn(part: Network | Parameter, lead: tuple[int, ...], name: str) -> list[Tensor]:
    """Random weights of a perceptron with one hidden layer; those of a parameter lie around its start."""
    source = generator(name)
    if isinstance(part, Parameter):
        return [part.initial + 0.3 * torch.randn(*lead, part.size, generator=source, dtype=torch.float64)]
    found = []
    for wide, out in ((part.inputs, HIDDEN), (HIDDEN, part.outputs)):
        for rows in (wide, 1):
            found.append(torch.randn(*lead, part.copies, rows, out, generator=source, dtype=torch.float64) / wide**0.5)
    return found


def evaluator(part: Network | Parameter, weights: list[Tensor]) -> Callable[..., Tensor]:
    """The function that a rule may call."""
    if isinstance(part, Parameter):
        return lambda: weights[0]

    def network(x: Tensor) -> Tensor:
        first, bias, last, shift = weights
        out = ((x.unsqueeze(-3) @ first + bias).tanh()) @ last + shift
        return out if part.copies > 1 else out.squeeze(-3)

    return network


def mapped(batch: Transitions, change: Callable[[Tensor], Tensor]) -> Transitions:
    """A copy with every tensor changed."""
    return Transitions(**{f.name: change(getattr(batch, f.name)) for f in fields(batch)})


def leaves(case: Case) -> Case:
    """The same weights, cut from whatever made them and asking for gradients."""
    return replace(case, weights={name: [w.detach().clone().requires_grad_() for w in layers] for name, layers in case.weights.items()})


def slopes(case: Case, name: str, loss: Tensor) -> list[Tensor]:
    """Of a loss summed over rows and seeds, along one network's weights; 0 where it does not matter."""
    layers = case.weights[name]
    if not loss.requires_grad:
        return [torch.zeros_like(w) for w in layers]
    found = torch.autograd.grad(loss.sum(), layers, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(layers, found, strict=True)]
