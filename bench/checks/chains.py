"""What a rule that learns from transitions promises of a world small enough to know everything about: five places in a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from algorithms.value import Space, Transitions, ValueRule
from bench.checks.batches import Draw
from bench.checks.expect import expect
from bench.control.stack import Build, Mover, Stack

PLACES, SEEDS, UPDATES = 5, 3, 400
ROUNDS = 200  # of policy evaluation and value iteration
DISCOUNT = 0.8  # the log's own: with a prize of 20, neither living longer nor a nat of entropy is worth a detour
PRIZE, CRUMB = 20.0, 0.2  # for leaving to the right, which ends the episode, and for staying at the left wall
CONTINUOUS = torch.tensor([-0.9, -0.6, -0.3, 0.3, 0.6, 0.9])


@dataclass(frozen=True)
class Chain:
    """Places 0 to 4. An action goes one to the left or one to the right; a continuous one by its sign."""

    space: Space
    wise: bool  # whether the log goes right more often than left, or the other way round

    def log(self) -> Transitions:
        """Every action in every place, the favoured direction three times."""
        actions = torch.arange(2) if self.space.discrete else CONTINUOUS
        right = (actions > 0).long()
        times = torch.where(right == int(self.wise), 3, 1)
        place, action = torch.cartesian_prod(torch.arange(PLACES), torch.arange(len(actions))).repeat_interleave(times.repeat(PLACES), 0).T
        after, reward, end = step(place, right[action])
        eye = torch.eye(PLACES + 1)[:, :PLACES]  # beyond the last place nothing is seen
        each = actions[action] if self.space.discrete else actions[action].unsqueeze(-1)
        return Transitions(eye[place], each, reward, eye[after], end, torch.full_like(reward, DISCOUNT))

    def worth(self, right: Tensor) -> Tensor:
        """(..., 5) exact value of each place under a policy that goes right with (..., 5) probability."""
        found = torch.zeros(*right.shape[:-1], PLACES + 1)
        for _ in range(ROUNDS):
            both = ahead(found)
            found[..., :PLACES] = (1 - right) * both[..., 0] + right * both[..., 1]
        return found[..., :PLACES]

    def best(self) -> Tensor:
        """(5,) exact value of each place under the best policy."""
        found = torch.zeros(PLACES + 1)
        for _ in range(ROUNDS):
            found[:PLACES] = ahead(found).amax(-1)
        return found[:PLACES]


def step(place: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Place after it, reward, and 1 where the episode ended."""
    after = (place + 2 * right - 1).clamp_min(0)
    end = (after == PLACES).float()
    return after, PRIZE * end + CRUMB * ((place == 0) & (right == 0)).float(), end


def ahead(value: Tensor) -> Tensor:
    """(..., 5, 2) worth of going left and right where the places, and what lies beyond the last, are worth (..., 6)."""
    after, reward, end = step(torch.arange(PLACES).unsqueeze(-1), torch.arange(2))
    return reward + DISCOUNT * (1 - end) * value[..., after]


def learnt(rule: ValueRule, chain: Chain) -> Tensor:
    """(S, 5) which way each seed goes after learning from the whole log again and again: 1 for right."""
    log, space = chain.log(), chain.space
    stack = Stack(rule.networks(space), Build((32,), "tanh", "orthogonal"), range(SEEDS))
    mover = Mover(stack, "adam", dict.fromkeys(stack.learnt, 1e-2), 1e-8, 0.0)
    batch = Transitions(**{name: x.expand(SEEDS, *x.shape) for name, x in vars(log).items()})
    wanted = rule.noise(space)
    for update in range(UPDATES):
        noise = {}
        for name, n in wanted.items():
            draw = Draw(f"chain:{update}", torch.float32, (SEEDS, n.rows * len(log.reward), n.width))
            noise[name] = draw.normal(name) if n.kind == "normal" else draw.uniform(name)
        for name, loss in rule.updates(stack, batch, noise):
            mover.step([name], loss.mean(-1).sum())
        stack.follow(0.05)
    action = rule.act(stack, torch.eye(PLACES).expand(SEEDS, -1, -1), space)
    return (action if space.discrete else action.squeeze(-1) > 0).float()


def chains(rule: ValueRule) -> list[Chain]:
    """One for each kind of action that the rule takes. Only a rule for logs is given a log that may be copied."""
    found = []
    for space in (Space(PLACES, 2, discrete=True), Space(PLACES, 1, discrete=False)):
        try:
            rule.networks(space)
        except ValueError:
            continue
        found.append(Chain(space, wise=rule.offline == "only"))
    return found


def learns_a_chain(rule: ValueRule) -> None:
    """From a log of every action, three seeds find the best policy though the log favours the worse way; a rule that learns from logs
    alone does at least as well everywhere as a log that favours the better one."""
    for chain in chains(rule):
        found = chain.worth(learnt(rule, chain))
        bound = chain.worth(torch.full((PLACES,), 0.75)) if rule.offline == "only" else chain.best()
        kind = "discrete" if chain.space.discrete else "continuous"
        short = (bound - found).max().item()
        expect(short <= 1e-6, f"with {kind} actions what is learnt is worth {short:.3f} less in one place than it should be")


ASKS = ValueRule
CONTRACTS: list[tuple[str, Callable[[ValueRule], None]]] = [("learns a chain of five places", learns_a_chain)]
