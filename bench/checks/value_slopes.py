"""What a rule that learns from transitions promises of its slopes. Tensors are float64 unless a promise is about another type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from algorithms.value import Parameter, ValueRule
from bench.checks.batches import Draw, close, generator
from bench.checks.expect import expect
from bench.checks.transitions import ROWS, Case, cases, evaluator, leaves, slopes

STEP = 1e-5  # of a central difference
RATES = ("reward", "next_obs", "discount", "terminal")


def targets_are_fixed(rule: ValueRule) -> None:
    """No loss has a slope along a delayed copy, or along what makes a target: reward, next state, discount, end."""
    for case in cases(rule, "targets"):
        case = leaves(case)
        inputs = {name: getattr(case.batch, name).clone().requires_grad_() for name in RATES}
        for name, loss in case.with_batch(**inputs).losses():
            expect(loss.requires_grad, f"the loss of {name} has no slope at all")
            found = torch.autograd.grad(loss.sum(), list(inputs.values()), allow_unused=True, retain_graph=True)
            loose = [key for key, slope in zip(inputs, found, strict=True) if slope is not None and (slope != 0).any()]
            expect(not loose, f"the loss of {name} has a slope along {', '.join(loose)}")
            for copy in case.followers:
                expect(not _moved(case, copy, loss), f"the loss of {name} has a slope along the delayed copy {copy}")


def moves_only_what_it_names(rule: ValueRule) -> None:
    """A loss has a slope along what it names, and along nothing else; but what acts may be judged by networks in between."""
    for case in cases(rule, "names"):
        case = leaves(case)
        acting = _acting(case)
        for name, loss in case.losses():
            expect(_moved(case, name, loss), f"the loss of {name} has no slope along {name}")
            others = [other for other in case.parts if other != name and _moved(case, other, loss)]
            expect(name in acting or not others, f"the loss of {name} has a slope along {', '.join(others)}")


def _moved(case: Case, name: str, loss: Tensor) -> bool:
    return any((slope != 0).any() for slope in slopes(case, name, loss))


def _acting(case: Case) -> set[str]:
    """The networks that `act` asks."""
    asked = set[str]()

    def watched(name: str, net: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*inputs: Tensor) -> Tensor:
            asked.add(name)
            return net(*inputs)

        return call

    case.rule.act({name: watched(name, net) for name, net in case.nets.items()}, case.batch.obs, case.space)
    return asked


def agrees_with_finite_differences(rule: ValueRule) -> None:
    """Autograd's slopes are those of the loss, measured by central differences in random directions.

    What the rule computes without gradients is held at its value.
    """
    for case in cases(rule, "differences"):
        case = leaves(case)
        share = Draw("differences", shape=(ROWS,)).normal("share")  # of each row, so that no two can make up for each other
        for at, (name, loss) in enumerate(case.losses()):
            slope = slopes(case, name, loss * share)
            for n in range(3):
                source = generator(f"way:{name}:{n}")
                way = [torch.randn(w.shape, generator=source, dtype=w.dtype) for w in slope]
                ahead, behind = (_displaced(case, name, way, size)[at] for size in (STEP, -STEP))
                found = ((ahead - behind) * share).sum() / (2 * STEP)
                wanted = torch.stack([(s * w).sum() for s, w in zip(slope, way, strict=True)]).sum()
                close(found, wanted, f"central difference of the loss of {name}", 1e-7)


def _displaced(case: Case, name: str, way: list[Tensor], size: float) -> list[Tensor]:
    """The losses with one network moved; it stays where it was for what is computed without gradients."""
    held = [w.detach() for w in case.weights[name]]
    moved = [(w + size * v).requires_grad_() for w, v in zip(held, way, strict=True)]
    part = case.parts[name]

    def net(*inputs: Tensor) -> Tensor:
        return evaluator(part, moved if torch.is_grad_enabled() else held)(*inputs)

    return [loss.detach() for _, loss in case.losses({**case.nets, name: net})]


def stays_finite(rule: ValueRule) -> None:
    """Rewards of 1e6, outputs of about 50, so that tanh and softmax are saturated, and far states give finite losses, slopes and probes."""
    for dtype in (torch.float32, torch.float64):
        for base in cases(rule, "extreme", (), dtype):
            for title, case in _extremes(base):
                case = leaves(case)
                for name, loss in case.losses():
                    expect(loss.isfinite().all(), f"{title} in {dtype}: the loss of {name} is not finite")
                    fine = all(slope.isfinite().all() for slope in slopes(case, name, loss))
                    expect(fine, f"{title} in {dtype}: the slope of the loss of {name} is not finite")
                for name, probe in rule.probes(case.nets, case.batch, case.noise).items():
                    expect(probe.isfinite().all(), f"{title} in {dtype}: the probe {name} is not finite")


def _extremes(case: Case) -> Iterator[tuple[str, Case]]:
    for scale in (1e6, -1e6):
        yield f"rewards of {scale:g}", case.with_batch(reward=torch.full_like(case.batch.reward, scale))
    yield "states of 1e4", case.with_batch(obs=1e4 * case.batch.obs, next_obs=1e4 * case.batch.next_obs)
    for sign in (1, -1):
        weights = {}
        for name, layers in case.weights.items():
            ahead = sign * (10.0 if isinstance(case.parts[name], Parameter) else 50.0)
            weights[name] = [*layers[:-1], layers[-1] + ahead]
        yield f"outputs near {sign * 50}", replace(case, weights=weights)
    yield (
        "outputs 50 times as large",
        replace(case, weights={name: [*x[:-2], *(50 * w for w in x[-2:])] for name, x in case.weights.items()}),
    )
    if not case.space.discrete:
        yield "actions at the bounds", case.with_batch(action=case.batch.action.sign())


ASKS = ValueRule
CONTRACTS: list[tuple[str, Callable[[ValueRule], None]]] = [
    ("targets and delayed copies are fixed", targets_are_fixed),
    ("a loss moves only what it names", moves_only_what_it_names),
    ("autograd agrees with finite differences", agrees_with_finite_differences),
    ("extreme inputs stay finite", stays_finite),
]
