"""Where d3rlpy differs from our rules on purpose, or like them from the papers, each place shown by a number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from bench.peers import Agreement, d3rlpy, valued
from bench.peers.compared import SEEDS, difference, gap, largest
from bench.peers.d3rlpy_rules import DISCRETE, LINEAR, SUMMED, bc, continuous_bc, cql, discrete_sac, dqn, sac
from bench.peers.valued import DIMENSIONS, Posed, loss_apart, transitions
from bench.registry import load

Pose = Callable[[Any, str], Posed]


def far(rule: Any, pose: Pose, name: str, scale: float = 1.0, asked: Any = None) -> float:
    """Largest difference between its loss, times `scale`, and ours; it is asked for what the rule sets, or `asked` instead."""
    return largest(loss_apart(rule, pose(asked or rule, seed), name, scale)[0] for seed in SEEDS)


def summed() -> Iterator[Agreement]:
    """What is not float64 in it."""
    note = "it sums its critics' losses in float32, which their slopes do not feel"
    yield difference("dqn", "q loss", "defaults", far(load("algorithms", "dqn")(), dqn, "q"), note, least=1e-10, most=SUMMED)


def actor_critic() -> Iterator[Agreement]:
    """Two losses of SAC's critics, and the entropy that is wanted of discrete actions."""
    note = "its critics' squared errors have no 1/2; what is compared above is half of them"
    yield difference("sac", "q loss", "continuous", far(load("algorithms", "sac")(**LINEAR), sac, "q", 2.0), note)
    rule = load("algorithms", "sac")(**DISCRETE)
    found = largest(loss_apart(rule, discrete_sac(rule, seed, reward=3.0), "q")[0] for seed in SEEDS)
    yield difference("sac", "q loss", "discrete", found, "its critics of discrete actions have Huber's loss: linear for errors above 1")
    found = far(replace(rule, target_entropy=None), discrete_sac, "log_temperature")
    yield difference("sac", "log_temperature loss", "discrete", found, "it wants an entropy of 0.98 log A, ours 0.89 log A unless set")


def conservative() -> Iterator[Agreement]:
    """The multiplier, and where both leave the paper."""
    rule = load("algorithms", "cql")(weight=5.0)
    learnt = replace(rule, threshold=10.0)
    found = far(rule, cql, "q", asked=learnt)
    note = "its multiplier learns, with a threshold of 10 off each gap, unless alpha_learning_rate = 0; ours has none unless set"
    yield difference("cql", "q loss", "weight=5.0", found, note)
    note = "it has one multiplier for both critics, moved by their mean gap; ours has one each, so twice its loss is compared above"
    yield difference("cql", "log_multiplier loss", "threshold=10.0", far(learnt, cql, "log_multiplier", 0.5), note)
    halved, sampled = [], []
    for seed in SEEDS:
        posed = cql(rule, seed)
        squares = valued.losses(replace(rule, weight=0.0), posed)["q"]
        halved.append(gap(posed.losses["q"], valued.losses(rule, posed)["q"] - squares / 2))
        strict = rule.probes(posed.nets, posed.batch, posed.noise)["cql/gap"] - math.log(3 * rule.samples)
        sampled.append(gap(posed.probes["cql/gap"], strict))
    note = "squared errors beside a continuous penalty have no 1/2, in it as in ours: a weight is half as strong as in the paper"
    yield difference("cql", "q loss", "weight=5.0", largest(halved), note)
    note = "the sampled log-sum-exp lacks the constant log(3 K), in it as in ours, so thresholds mean that much more"
    yield difference("cql", "cql/gap", "samples=10", largest(sampled), note, least=3.40, most=3.41)


def cloning() -> Iterator[Agreement]:
    """A pull beside the likelihood, and a mean."""
    rule, apart = load("algorithms", "bc")(), []
    for seed in SEEDS:
        batch, peer = transitions(seed, rule, discrete=True), d3rlpy.made("DiscreteBC", seed, {"imitator": 1.5})
        posed = bc(rule, seed)
        apart.append(gap(valued.losses(rule, posed)["policy"], peer.compute_loss(batch.obs, batch.action.unsqueeze(-1)).loss))
    yield difference("bc", "policy loss", "discrete", largest(apart), "its beta = 0.5 pulls log-probabilities to 0; compared above at 0")
    note = "its squared error is a mean over the dimensions of an action, ours a sum: twice its loss is compared above, for two"
    yield difference("bc", "policy loss", "continuous", far(rule, continuous_bc, "policy", 1 / DIMENSIONS), note)


CASES = {"dqn": summed, "sac": actor_critic, "cql": conservative, "bc": cloning}
