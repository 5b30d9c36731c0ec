"""What a policy-gradient rule promises of its slopes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from algorithms import ops
from algorithms.base import Forward, PolicyGradient
from bench.checks.batches import batch, close, forward, generator, gradients, leaves, loss, tensors, with_terms
from bench.checks.expect import expect

IN_LOSS: tuple[Literal["k2", "k3", "k3+", "ratio_k3"], ...] = ("k2", "k3", "k3+", "ratio_k3")


def gate_is_open_on_policy(rule: PolicyGradient) -> None:
    """At the sampling policy the surrogate's slope along each log-probability is weight x advantage, whatever the rule."""
    of = batch("gate")
    now = leaves(replace(forward(of, "gate"), logp=of.old_logp))
    credit = rule.credit(of)
    slope = gradients((credit.weight * rule.surrogate(now, of, credit)).sum(), now)["logp"]
    close(slope, credit.weight * credit.advantage, "slope at the sampling policy")


def follows_the_policy_gradient(rule: PolicyGradient) -> None:
    """Through a softmax policy that is still the sampling policy, the step is the plain policy gradient: w A (one-hot - p)."""
    of = batch("softmax")
    source, shape = generator("softmax"), (*of.mask.shape, 5)
    logits = torch.randn(shape, generator=source, dtype=torch.float64).requires_grad_()
    action = torch.randint(5, shape[:2], generator=source).unsqueeze(-1)
    logp = logits.log_softmax(-1).gather(-1, action).squeeze(-1)
    of = replace(of, old_logp=logp.detach())
    credit, plain = rule.credit(of), replace(rule, kl=0.0, entropy_bonus=0.0)
    now = Forward(logp, forward(of, "softmax").entropy, forward(of, "softmax").value)
    (found,) = torch.autograd.grad((credit.weight * plain.objective(now, of, credit)).sum(), logits)
    chosen = torch.zeros(shape, dtype=torch.float64).scatter(-1, action, 1.0)
    wanted = (credit.weight * credit.advantage).unsqueeze(-1) * (chosen - logits.detach().softmax(-1))
    close(found, wanted, "gradient along the logits")


def says_whether_it_clips(rule: PolicyGradient) -> None:
    """The class fact `clips` is true exactly where the rule gives an action with an advantage no slope at all."""
    of = batch("clips")
    now = forward(of, "clips", 0.5)
    credit = rule.credit(of)
    plain = credit.weight * credit.advantage
    slope = gradients((credit.weight * rule.surrogate(now, of, credit)).sum(), now)["logp"]
    shut = int(((slope == 0) & (plain != 0)).sum())
    expect(
        (shut > 0) == rule.clips, f"clips is {rule.clips}, but {shut} of {int((plain != 0).sum())} actions with an advantage have no slope"
    )


def agrees_with_finite_differences(rule: PolicyGradient) -> None:
    """Autograd's slopes are those of the loss, measured by central differences in random directions.

    What the rule detaches is held at its value, so a straight-through estimator is judged by the slope it states.
    """
    of = batch("differences")
    for varied in with_terms(rule):
        credit, now = varied.credit(of), forward(of, "differences", 0.05)
        slopes = gradients(loss(varied, now, of, credit), now)

        def value(at: Forward, varied: PolicyGradient = varied, credit: Any = credit) -> Tensor:
            return loss(varied, at, of, credit)

        frozen = _Recorded(value, now)
        for name, x in tensors(now).items():
            for n in range(3):
                way = torch.randn(x.shape, generator=generator(f"way:{name}:{n}"), dtype=x.dtype)
                ahead, behind = (frozen(replace(now, **{name: x.detach() + size * way})) for size in (1e-5, -1e-5))
                where = f"central difference along {name} with kl_estimator={varied.kl_estimator}, kl={varied.kl:g}"
                close((ahead - behind) / 2e-5, (slopes[name] * way).sum(), where, 1e-7)


def terms_count(rule: PolicyGradient) -> None:
    """A pull to the reference and an entropy bonus are in the objective at their full strength; k1 is in the reward, at its own."""
    of = batch("terms")
    now, plain = forward(of, "terms"), replace(rule, kl=0.0, entropy_bonus=0.0)
    credit = plain.credit(of)
    assert of.ref_logp is not None and now.entropy is not None

    def added(varied: PolicyGradient) -> Tensor:
        return varied.objective(now, of, credit) - plain.objective(now, of, credit)

    terms = {"entropy bonus": (added(replace(plain, entropy_bonus=0.3)), 0.3 * ops.masked(now.entropy, of.mask))}
    for name in IN_LOSS:
        pull = -0.3 * ops.kl_in_loss(name, now.logp, of.old_logp, of.ref_logp, of.mask)
        terms[f"pull by {name}"] = added(replace(plain, kl=0.3, kl_estimator=name)), pull
    for title, (found, wanted) in terms.items():
        close(found.detach(), wanted.detach(), title)
        slopes = gradients(found.sum(), now)
        for x, slope in gradients(wanted.sum(), now).items():
            close(slopes[x], slope, f"gradient of the {title} along {x}")
    pulled = replace(plain, kl=0.3, kl_estimator="k1")
    if not rule.learns or "kl" in pulled.idle():
        return
    advantage, lowered = pulled.credit(of).advantage, replace(of, reward=of.reward - 0.3 * (of.old_logp - of.ref_logp))
    if rule.control:  # one may be paid by something else than the rewards that are lowered here
        expect(not torch.equal(advantage, credit.advantage), "a pull by k1 changes no advantage")
    else:
        close(advantage, plain.credit(lowered).advantage, "advantage with a pull by k1")


class _Recorded:
    """A function of the forward pass whose detached parts keep the values they had at one point."""

    def __init__(self, function: Callable[[Forward], Tensor], at: Forward) -> None:
        self.function = function
        recorder = _Detached(None)
        with recorder:
            function(at)
        self.held = recorder.seen

    def __call__(self, at: Forward) -> Tensor:
        with torch.no_grad(), _Detached(self.held):
            return self.function(at)


class _Detached(TorchFunctionMode):
    """Notes what `detach` returns, in order, or answers it with what was noted."""

    def __init__(self, held: list[Tensor] | None) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.answers = None if held is None else iter(held)

    def __torch_function__(self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func not in (Tensor.detach, torch.detach):
            return out
        if self.answers is not None:
            return next(self.answers)
        self.seen.append(out.clone())
        return out


ASKS = PolicyGradient
CONTRACTS = [
    ("the gate is exactly 1 at the sampling policy", gate_is_open_on_policy),
    ("on policy, the step is the plain policy gradient", follows_the_policy_gradient),
    ("the class fact `clips` is true", says_whether_it_clips),
    ("autograd agrees with finite differences", agrees_with_finite_differences),
    ("the pull to the reference and the entropy bonus count in full", terms_count),
]
