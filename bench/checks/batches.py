"""Random rollout batches for the contracts of learning rules: variable lengths, groups, every optional tensor present."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from algorithms.base import Batch, Credit, Forward, PolicyGradient
from algorithms.critic import ActorCritic
from bench.checks.expect import expect

PATHS, ACTIONS, GROUP = 12, 8, 4
Rows = TypeVar("Rows", Forward, Credit)


def generator(name: str) -> torch.Generator:
    """A source of chance of its own for each name."""
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big"))


@dataclass(frozen=True)
class Draw:
    """Random tensors of one shape and type, from one named source."""

    name: str
    dtype: torch.dtype = torch.float64
    shape: tuple[int, ...] = (PATHS, ACTIONS)

    def normal(self, what: str) -> Tensor:
        return torch.randn(self.shape, generator=generator(f"{self.name}:{what}"), dtype=torch.float64).to(self.dtype)

    def uniform(self, what: str) -> Tensor:
        return torch.rand(self.shape, generator=generator(f"{self.name}:{what}"), dtype=torch.float64).to(self.dtype)


def batch(name: str, dtype: torch.dtype = torch.float64, lengths: Tensor | None = None, sizes: int = GROUP) -> Batch:
    """12 paths of 1 to 8 actions in groups of `sizes`; `lengths` (12,) replaces the random ones."""
    draw, row = Draw(name, dtype), Draw(name, dtype, (PATHS,))
    if lengths is None:
        lengths = 1 + (row.uniform("length") * ACTIONS).long().clamp_max(ACTIONS - 1)
        lengths[:2] = torch.tensor([ACTIONS, ACTIONS - 1])  # one path at the limit, one near it
    mask = torch.arange(ACTIONS) < lengths.unsqueeze(-1)
    last = torch.arange(ACTIONS) == lengths.unsqueeze(-1) - 1
    correct = (row.uniform("correct") < 0.5).to(dtype)
    cut = lengths == ACTIONS
    old = -0.05 - 3 * draw.uniform("old")
    return Batch(
        group=7 - torch.arange(PATHS) // sizes,
        reward=last * (correct + row.uniform("reward")).unsqueeze(-1) + 0.1 * draw.normal("reward"),
        mask=mask,
        old_logp=old,
        ref_logp=old + 0.3 * draw.normal("reference"),
        old_value=draw.normal("value"),
        bootstrap=draw.normal("bootstrap") * (last & cut.unsqueeze(-1)),
        end=last,
        truncated=cut,
        correct=correct,
        formatted=(row.uniform("formatted") < 0.5).to(dtype),
        chance=row.uniform("chance"),
        limit=ACTIONS,
        history=Draw(name, dtype, (3,)).uniform("history"),
    )


def forward(of: Batch, name: str, spread: float = 0.2) -> Forward:
    """A current policy whose log-ratios have standard deviation `spread`; leaves that ask for gradients."""
    draw = Draw(name, of.old_logp.dtype, tuple(of.old_logp.shape))
    return leaves(Forward(of.old_logp + spread * draw.normal("now"), 2 * draw.uniform("entropy"), draw.normal("now value")))


def leaves(now: Forward) -> Forward:
    """The same values, cut from whatever made them and asking for gradients."""
    return Forward(**{k: v.detach().clone().requires_grad_() for k, v in tensors(now).items()})


def tensors(of: Any) -> dict[str, Tensor]:
    """The tensor fields of a Batch, Forward or Credit that are set."""
    return {f.name: v for f in fields(of) if isinstance(v := getattr(of, f.name), Tensor)}


def mapped(of: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A copy with every (B, T) tensor changed."""
    return replace(of, **{k: change(v) for k, v in tensors(of).items() if v.dim() == 2})


def some_rows(of: Rows, index: Tensor) -> Rows:
    """The paths that `index` names, weights unchanged; gradients flow back to all of `of`."""
    return replace(of, **dict[str, Any]({k: v[index] for k, v in tensors(of).items()}))


def loss(rule: PolicyGradient, now: Forward, of: Batch, credit: Credit) -> Tensor:
    """() the loss of one optimizer step on the whole batch, the critic's part included."""
    value = -(credit.weight * rule.objective(now, of, credit)).sum()
    if isinstance(rule, ActorCritic) and now.value is not None:
        value = value + rule.value_coef * (credit.weight * rule.value_loss(now.value, of, credit)).sum()
    return value


def gradients(value: Tensor, now: Forward) -> dict[str, Tensor]:
    """The slope of `value` along each tensor of the forward pass, 0 where it does not matter."""
    inputs = tensors(now)
    if not value.requires_grad:
        return {k: torch.zeros_like(v) for k, v in inputs.items()}
    found = torch.autograd.grad(value, list(inputs.values()), allow_unused=True)
    return {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(inputs.items(), found, strict=True)}


def step(rule: PolicyGradient, now: Forward, of: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients with the credit of this very batch."""
    now = leaves(now)
    value = loss(rule, now, of, rule.credit(of))
    return value.detach(), gradients(value, now)


def with_terms(rule: PolicyGradient) -> list[PolicyGradient]:
    """The rule as it is, and with each kind of reference pull and an entropy bonus."""
    pulls = [replace(rule, kl=0.1, kl_estimator=name, entropy_bonus=0.01) for name in ("k1", "k2", "k3", "k3+", "ratio_k3")]
    return [rule, *pulls]


def close(found: Tensor, wanted: Tensor, what: str, tolerance: float = 1e-12) -> None:
    """Raises AssertionError where two tensors differ by more than the tolerance, absolute below 1 and relative above; NaN differs."""
    expect(found.shape == wanted.shape, f"{what}: shape {tuple(found.shape)} instead of {tuple(wanted.shape)}")
    excess = (found - wanted).abs() / wanted.abs().clamp_min(1)
    bad = ~(excess <= tolerance)
    if bad.any():
        place = tuple(int(i) for i in bad.nonzero()[0])
        raise AssertionError(
            f"{what}: {found[place].item():.12g} instead of {wanted[place].item():.12g} at {place}; allowed: {tolerance:g}"
        )
