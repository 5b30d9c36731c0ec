"""Small networks of several seeds side by side: every parameter has a seed axis in front, and one batched product serves all seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
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
    """One network of S seeds: for each layer weights (S * copies, in, out) and biases (S * copies, 1, out); a parameter is (S, size)."""

    def __init__(self, name: str, part: Network | Parameter, build: Build, seeds: Sequence[int]) -> None:
        self.part, self.seeds, self.activation = part, len(seeds), torch.tanh if build.activation == "tanh" else torch.relu
        started = [_start(part, build, torch.Generator().manual_seed(number(f"start:{seed}:{name}"))) for seed in seeds]
        self.leaves = [torch.cat(layer).requires_grad_() for layer in zip(*started, strict=True)]

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

    def rows(self, tensor: Tensor) -> Tensor:
        """A leaf, or its gradient, as (S, numbers of a seed)."""
        return tensor.view(self.seeds, -1)


def _layers(part: Network, build: Build) -> list[tuple[int, int]]:
    """Inputs and outputs of each layer."""
    widths = [part.inputs, *build.hidden, part.outputs]
    return list(pairwise(widths))


def _start(part: Network | Parameter, build: Build, chance: torch.Generator) -> list[Tensor]:
    """The start values of one seed's leaves."""
    if isinstance(part, Parameter):
        return [torch.full((1, part.size), part.initial)]
    layers = _layers(part, build)
    copies = [
        [t for i, layer in enumerate(layers) for t in _layer(layer, part, build, i == len(layers) - 1, chance)] for _ in range(part.copies)
    ]
    return [torch.stack(leaf) for leaf in zip(*copies, strict=True)]


def _layer(layer: tuple[int, int], part: Network, build: Build, last: bool, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """One copy's (in, out) weight and (1, out) bias."""
    wide, out = layer
    weight, bias = torch.empty(out, wide), torch.zeros(1, out)
    if build.start == "orthogonal":
        torch.nn.init.orthogonal_(weight, part.gain if last else math.sqrt(2), generator=chance)
    else:
        for tensor in (weight, bias):
            tensor.uniform_(-1 / math.sqrt(wide), 1 / math.sqrt(wide), generator=chance)
    return weight.T.contiguous(), bias


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
            torch._foreach_lerp_(self[name].leaves, self[source].leaves, tau)

    @torch.no_grad()
    def drift(self) -> Tensor:
        """(S,) Euclidean distance of the delayed copies from what they follow."""
        pairs = [
            (self[name], leaf - other)
            for name, of in self.follows.items()
            for leaf, other in zip(self[name].leaves, self[of].leaves, strict=True)
        ]
        squares = torch.stack([net.rows(difference).square().sum(-1) for net, difference in pairs])
        distance: Tensor = squares.sum(0).sqrt()
        return distance

    def tensors(self, row: int) -> dict[str, Tensor]:
        """The parameters of one seed."""
        return {f"{name}/{i}": net.rows(leaf)[row].detach().clone() for name, net in self.items() for i, leaf in enumerate(net.leaves)}

    @torch.no_grad()
    def restore(self, row: int, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        for name, net in self.items():
            for i, leaf in enumerate(net.leaves):
                net.rows(leaf)[row] = tensors[f"{name}/{i}"]


class Mover:
    """Optimizers with a seed axis: gradients are clipped for each seed by itself, and the update is elementwise anyway."""

    def __init__(self, stack: Stack, kind: Literal["adam", "rmsprop"], rates: dict[str, float], eps: float, clip: float) -> None:
        """`rates` names a learning rate for each learnt network; `clip` bounds a seed's global norm, 0 for no bound."""
        self.stack, self.clip, self.rates = stack, clip, rates
        self.optimizers = {name: _optimizer(stack[name].leaves, kind, rates[name], eps) for name in stack.learnt}

    def rate(self, share: float) -> None:
        """Set every learning rate to this share of its start."""
        for name, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = self.rates[name] * share

    def step(self, names: Sequence[str], loss: Tensor, still: Tensor | None = None, free: Sequence[str] = ()) -> Tensor:
        """Descend () the sum of the seeds' losses along the named networks; (S,) norms before clipping.

        `still` (S,) bool holds networks of those seeds where they are, their optimizer's memory included; all but those in `free`.
        """
        leaves = [(net, leaf) for net in (self.stack[name] for name in names) for leaf in net.leaves]
        found = torch.autograd.grad(loss, [leaf for _, leaf in leaves])
        each = [torch.linalg.vector_norm(net.rows(gradient), dim=1) for (net, _), gradient in zip(leaves, found, strict=True)]
        norm: Tensor = torch.stack(each).norm(dim=0)
        if self.clip and bool((norm > self.clip).any()):
            share = torch.where(norm > self.clip, self.clip / (norm + 1e-6), torch.ones_like(norm)).unsqueeze(-1)
            for (net, _), gradient in zip(leaves, found, strict=True):
                net.rows(gradient).mul_(share)
        for (_, leaf), gradient in zip(leaves, found, strict=True):
            leaf.grad = gradient
        for name in names:
            self._move(name, None if name in free else still)
        return norm

    def _move(self, name: str, still: Tensor | None) -> None:
        optimizer, net = self.optimizers[name], self.stack[name]
        if still is None or not still.any():
            optimizer.step()
            return
        moving = [net.rows(tensor) for leaf in net.leaves for tensor in (leaf.detach(), *self._memory(optimizer, leaf).values())]
        before = [tensor[still] for tensor in moving]
        optimizer.step()
        for tensor, old in zip(moving, before, strict=True):
            tensor[still] = old

    def _memory(self, optimizer: Optimizer, leaf: Tensor) -> dict[str, Tensor]:
        """What the optimizer remembers of each number of a leaf, made where it has not moved yet."""
        if not optimizer.state[leaf]:
            names = ("exp_avg", "exp_avg_sq") if isinstance(optimizer, Adam) else ("square_avg",)
            optimizer.state[leaf].update({name: torch.zeros_like(leaf) for name in names} | {"step": torch.zeros(())})
        held: dict[str, Tensor] = {name: value for name, value in optimizer.state[leaf].items() if value.shape == leaf.shape}
        return held

    def tensors(self, row: int) -> dict[str, Tensor]:
        """The optimizers' memory of one seed."""
        found: dict[str, Tensor] = {}
        for name, optimizer in self.optimizers.items():
            net = self.stack[name]
            for i, leaf in enumerate(net.leaves):
                held = optimizer.state[leaf]
                found |= {f"{name}/{i}/{key}": (net.rows(v)[row] if v.dim() else v).clone() for key, v in held.items()}
        return found

    def restore(self, row: int, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        for path, value in tensors.items():
            name, i, key = path.split("/")
            net, optimizer = self.stack[name], self.optimizers[name]
            leaf = net.leaves[int(i)]
            self._memory(optimizer, leaf)
            if value.dim():
                net.rows(optimizer.state[leaf][key])[row] = value
            else:
                optimizer.state[leaf][key] = value.clone()


def _optimizer(leaves: list[Tensor], kind: str, rate: float, eps: float) -> Optimizer:
    if kind == "adam":
        return Adam(leaves, rate, eps=eps, fused=True)
    return RMSprop(leaves, rate, alpha=0.99, eps=eps)
