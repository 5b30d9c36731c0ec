"""What a rule with a critic promises of its advantages and targets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch
from algorithms.critic import ActorCritic
from bench.checks.batches import ACTIONS, PATHS, batch, close, generator, tensors
from bench.checks.expect import expect


def plain(rule: ActorCritic) -> ActorCritic:
    """The rule with its advantages as they come."""
    return replace(rule, whiten=False, kl=0.0)


def targets_are_returns(rule: ActorCritic) -> None:
    """A target is advantage + value, taken before any whitening, and the value loss at it is 0."""
    of = batch("targets")
    credit = plain(rule).credit(of)
    assert of.old_value is not None
    wanted = ops.masked(credit.advantage + of.old_value, of.mask)
    for varied in (rule, plain(rule), replace(rule, whiten=True)):
        target = replace(varied, kl=0.0).credit(of).target
        expect(target is not None, "credit has no target")
        if target is not None:
            close(target, wanted, "target")
    unclipped = replace(rule, value_clip=None)
    close(unclipped.value_loss(wanted, of, credit), torch.zeros_like(wanted), "value loss at the target")


def perfect_foresight_leaves_no_advantage(rule: ActorCritic) -> None:
    """Where the critic knew every return, no action has an advantage, whatever lambda."""
    of = replace(batch("foresight"), bootstrap=None, end=None)
    for lam in (0.0, 0.7, 1.0):
        varied = replace(plain(rule), lam=lam)
        known = ops.reward_to_go(of.reward, of.mask, varied.gamma)
        found = varied.credit(replace(of, old_value=known)).advantage
        close(found, torch.zeros_like(found), f"advantage under perfect foresight with lam={lam:g}")


def an_end_cuts_a_path(rule: ActorCritic) -> None:
    """Two episodes one after the other in a path get what they get as two paths; the first one's bootstrap counts for it alone."""
    of, cut = batch("end", lengths=torch.full((PATHS,), ACTIONS)), 3
    end = torch.zeros_like(of.mask)
    end[:, cut - 1] = True
    bootstrap = torch.randn(PATHS, generator=generator("end"), dtype=torch.float64).unsqueeze(-1) * end
    varied = plain(rule)
    whole = varied.credit(replace(of, end=end, bootstrap=bootstrap)).advantage
    for part in (slice(0, cut), slice(cut, None)):
        alone = _columns(replace(of, end=None, bootstrap=bootstrap), part)
        close(whole[:, part], varied.credit(alone).advantage, f"advantage of actions {part.start} to {part.stop or ACTIONS}")


def _columns(of: Batch, part: slice) -> Batch:
    def cut(x: Tensor) -> Tensor:
        return x[:, part]

    return replace(of, **dict[str, Any]({k: cut(v) for k, v in tensors(of).items() if v.dim() == 2}))


def a_cut_is_not_an_end(rule: ActorCritic) -> None:
    """A bootstrap at a path's last action counts as what would have come; 0 there means that nothing does."""
    of = replace(batch("cut"), end=None)
    last = of.mask & (of.mask.cumsum(-1) == of.mask.sum(-1, keepdim=True))
    varied = replace(plain(rule), lam=1.0)
    ended = varied.credit(replace(of, bootstrap=torch.zeros_like(of.old_logp))).advantage
    cut = varied.credit(replace(of, bootstrap=last.to(of.old_logp))).advantage
    left = of.mask.sum(-1, keepdim=True) - of.mask.cumsum(-1) + 1  # steps from each action to what follows the path
    close(cut - ended, ops.masked(varied.gamma ** left.to(of.old_logp), of.mask), "what a bootstrap of 1 adds")


def a_value_clip_holds(rule: ActorCritic) -> None:
    """A value that moved towards its target has a slope up to value_clip from where it was and none beyond; without a clip, always."""
    of = batch("value clip")
    credit, old = rule.credit(of), of.old_value
    assert old is not None and credit.target is not None
    far = of.mask & ((credit.target - old).abs() > 0.5)
    for clip, moved in ((0.1, 0.05), (0.1, 0.2), (None, 0.2)):
        value = (old + moved * (credit.target - old).sign()).requires_grad_()
        (slope,) = torch.autograd.grad(replace(rule, value_clip=clip).value_loss(value, of, credit).sum(), value)
        shut = clip is not None and moved > clip
        expect(((slope[far] == 0) == shut).all(), f"with value_clip={clip}, a value {moved:g} from where it was has {_slope(not shut)}")


def _slope(there: bool) -> str:
    return "no slope" if there else "a slope"


ASKS = ActorCritic
CONTRACTS = [
    ("targets are advantage plus value, before whitening", targets_are_returns),
    ("perfect foresight leaves no advantage", perfect_foresight_leaves_no_advantage),
    ("an end inside a path cuts it in two", an_end_cuts_a_path),
    ("a path that is cut is not a path that ended", a_cut_is_not_an_end),
    ("a value clip holds a value back, and nothing else does", a_value_clip_holds),
]
