"""Small networks of several seeds side by side: every parameter has a seed axis in front, and one batched product serves all seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer, RMSprop

from algorithms.value import Network, Parameter
from bench.chance import number

Activation = Literal["tanh", "relu"]
Start = Literal["orthogonal", "uniform"]


@dataclass(frozen=True)
class Build:
    """How the multilayer perceptrons of a run are made."""

    hidden: Sequence[int]
    activation: Activation
    start: Start  # orthogonal, or torch's own uniform numbers


class Net:
    """One network of S seeds. Its parameters are views of `flat`, (S, P), so that an optimizer and a norm see one tensor."""

    def __init__(self, name: str, part: Network | Parameter, build: Build, seeds: Sequence[int]) -> None:
        self.part, self.activation = part, torch.tanh if build.activation == "tanh" else torch.relu
        self.flat = torch.stack([_start(part, build, torch.Generator().manual_seed(number(f"start:{seed}:{name}"))) for seed in seeds])
        self.gradient = torch.zeros_like(self.flat)
        self.leaves = [view.detach().requires_grad_() for view in self._views(self.flat, build)]
        self._gradients = list(self._views(self.gradient, build))

    def __call__(self, x: Tensor | None = None) -> Tensor:
        """(S, B, outputs), or (S, copies, B, outputs) for several copies, from (S, B, inputs), or (S, copies, B, inputs); a parameter's
        (S, size) from nothing."""
        if isinstance(self.part, Parameter):
            return self.leaves[0]
        assert x is not None
        copies, rows = self.part.copies, x.shape[-2]
        if copies > 1:
            x = (x if x.dim() == 4 else x.unsqueeze(1).expand(-1, copies, -1, -1)).reshape(-1, rows, x.shape[-1])
        last = len(self.leaves) - 2
        for layer in range(0, len(self.leaves), 2):
            x = torch.baddbmm(self.leaves[layer + 1], x, self.leaves[layer])
            x = x if layer == last else self.activation(x)
        return x if copies == 1 else x.unflatten(0, (-1, copies))

    def take(self, gradients: Sequence[Tensor]) -> None:
        """Hold the gradients of `leaves`, for a norm and an optimizer to see."""
        torch._foreach_copy_(self._gradients, list(gradients))
        self.flat.grad = self.gradient

    def _views(self, flat: Tensor, build: Build) -> Iterator[Tensor]:
        """Weights (S * copies, in, out) and biases (S * copies, 1, out) in turn; a parameter's (S, size)."""
        if isinstance(self.part, Parameter):
            yield flat
            return
        flat, at = flat.view(len(flat) * self.part.copies, -1), 0
        for wide, out in _layers(self.part, build):
            for rows in (wide, 1):
                yield flat[:, at : at + rows * out].unflatten(1, (rows, out))
                at += rows * out


def _layers(part: Network, build: Build) -> list[tuple[int, int]]:
    """Inputs and outputs of each layer."""
    widths = [part.inputs, *build.hidden, part.outputs]
    return list(zip(widths, widths[1:], strict=False))


def _start(part: Network | Parameter, build: Build, chance: torch.Generator) -> Tensor:
    """(P,) start values of one seed."""
    if isinstance(part, Parameter):
        return torch.full((part.size,), part.initial)
    found, layers = [], _layers(part, build)
    for _ in range(part.copies):
        for i, (wide, out) in enumerate(layers):
            weight, bias = torch.empty(out, wide), torch.zeros(out)
            if build.start == "orthogonal":
                torch.nn.init.orthogonal_(weight, part.gain if i == len(layers) - 1 else math.sqrt(2), generator=chance)
            else:
                for tensor in (weight, bias):
                    tensor.uniform_(-1 / math.sqrt(wide), 1 / math.sqrt(wide), generator=chance)
            found += [weight.T.reshape(-1), bias]
    return torch.cat(found)


class Stack(dict[str, Net]):
    """The networks of a rule for S seeds, with delayed copies that start as what they follow."""

    def __init__(self, parts: dict[str, Network | Parameter], build: Build, seeds: Sequence[int]) -> None:
        super().__init__((name, Net(name, part, build, seeds)) for name, part in parts.items())
        self.seeds = list(seeds)
        self.follows = {name: part.follows for name, part in parts.items() if isinstance(part, Network) and part.follows}
        self.follow(1.0)

    @property
    def learnt(self) -> list[str]:
        """Names of what a loss moves."""
        return [name for name in self if name not in self.follows]

    @torch.no_grad()
    def follow(self, tau: float) -> None:
        """Move every delayed copy the share `tau` of its way."""
        for name, source in self.follows.items():
            self[name].flat.lerp_(self[source].flat, tau)

    def drift(self) -> Tensor:
        """(S,) Euclidean distance of the delayed copies from what they follow."""
        return torch.stack([(self[n].flat - self[source].flat).square().sum(-1) for n, source in self.follows.items()]).sum(0).sqrt()

    def tensors(self, row: int) -> dict[str, Tensor]:
        """The parameters of one seed, by network."""
        return {name: net.flat[row].clone() for name, net in self.items()}

    @torch.no_grad()
    def restore(self, row: int, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        for name, net in self.items():
            net.flat[row] = tensors[name]


class Mover:
    """Optimizers with a seed axis: gradients are clipped for each seed by itself, and the update is elementwise anyway."""

    def __init__(self, stack: Stack, kind: Literal["adam", "rmsprop"], rates: dict[str, float], eps: float, clip: float) -> None:
        """`rates` names a learning rate for each learnt network; `clip` bounds a seed's global norm, 0 for no bound."""
        self.stack, self.clip, self.rates = stack, clip, rates
        self.optimizers = {name: _optimizer(stack[name].flat, kind, rates[name], eps) for name in stack.learnt}

    def rate(self, share: float) -> None:
        """Set every learning rate to this share of its start."""
        for name, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = self.rates[name] * share

    def step(self, names: Sequence[str], loss: Tensor, still: Tensor | None = None) -> Tensor:
        """Descend () the sum of the seeds' losses along the named networks; (S,) norms before clipping.

        `still` (S,) bool holds networks of those seeds where they are, their optimizer's memory included; only its count of steps, which
        is one for all seeds, goes on.
        """
        nets = [self.stack[name] for name in names]
        found = iter(torch.autograd.grad(loss, [leaf for net in nets for leaf in net.leaves]))
        for net in nets:
            net.take([next(found) for _ in net.leaves])
        norm = torch.stack([net.gradient.square().sum(-1) for net in nets]).sum(0).sqrt()
        if self.clip:
            share = (self.clip / (norm + 1e-6)).clamp_max(1.0).unsqueeze(-1)
            for net in nets:
                net.gradient.mul_(share)
        for name in names:
            self._move(name, still)
        return norm

    def _move(self, name: str, still: Tensor | None) -> None:
        optimizer, flat = self.optimizers[name], self.stack[name].flat
        if still is None or not still.any():
            optimizer.step()
            return
        memory = optimizer.state[flat]  # empty before the first step
        place, held = flat[still], {key: value[still] for key, value in memory.items() if value.dim()}
        optimizer.step()
        flat[still] = place
        for key, value in memory.items():
            if value.dim():
                value[still] = held.get(key, torch.zeros_like(place))

    def tensors(self, row: int) -> dict[str, Tensor]:
        """The optimizers' memory of one seed."""
        found = {}
        for name, optimizer in self.optimizers.items():
            for key, value in optimizer.state[self.stack[name].flat].items():
                found[f"{name}/{key}"] = value[row].clone() if value.dim() else value.clone()
        return found

    def restore(self, row: int, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave. The count of steps becomes that of the row restored last: rows are to be of one moment."""
        for name, optimizer in self.optimizers.items():
            flat = self.stack[name].flat
            for key, value in ((k.partition("/")[2], v) for k, v in tensors.items() if k.partition("/")[0] == name):
                held = optimizer.state[flat].setdefault(key, torch.zeros_like(flat if value.dim() else value))
                (held[row] if value.dim() else held).copy_(value)


def _optimizer(flat: Tensor, kind: str, rate: float, eps: float) -> Optimizer:
    if kind == "adam":
        return Adam([flat], rate, eps=eps, fused=True)
    return RMSprop([flat], rate, alpha=0.99, eps=eps)
