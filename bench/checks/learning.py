"""What a rule promises of a whole run: that it learns, and that the same seed gives the same curve. A few seconds each."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import islice

from algorithms.base import PolicyGradient, Rule
from algorithms.preference import Preference
from bench import registry
from bench.checks.expect import DoesNotApply, expect
from bench.config import TrainSettings
from bench.loops.progress import Progress
from bench.loops.setup import Plan, learner
from bench.loops.training import train
from bench.models import BASES
from bench.policy import Policy
from bench.record import Record
from bench.verifying import Verifier

STEPS = 24  # rollout batches of 16 x 8 completions
RISE = 0.05  # in the mean verdict, from the first quarter of them to the last


def curve(rule: Rule) -> list[Record]:
    """A short run on `last_digit` from the shipped base model."""
    settings = TrainSettings(lr=3e-3 if rule.updates_once else 1e-3, critic_lr=3e-3, warmup=4, eval_problems=1, eval_completions=1)
    task, policy = registry.load("tasks", "last_digit")(), Policy.load(BASES / "last_digit")
    held_out = list(islice(task.problems("heldout", 0), 1))
    with Verifier(task) as verifier:
        learns = learner(rule, policy, settings, registry.load("samplers", "hf")(), verifier)
        plan = Plan(task, held_out, settings, seed=0, eval_every=10**9, allowance=10**9)
        return list(islice(train(learns, plan, Progress()), 1, STEPS + 1))


first_curve = lru_cache(maxsize=4)(curve)  # both contracts look at it


def learns_last_digit(rule: Rule) -> None:
    """The mean verdict of the last quarter of a short run is above the first quarter's."""
    if rule.control:
        raise DoesNotApply("a control need not learn")
    scores = [record.train_score or 0.0 for record in first_curve(rule)]
    quarter = STEPS // 4
    early, late = sum(scores[:quarter]) / quarter, sum(scores[-quarter:]) / quarter
    expect(late > early + RISE, f"the mean verdict goes from {early:.3f} to {late:.3f} in {STEPS} rollout batches")


def repeats_its_curve(rule: Rule) -> None:
    """Two runs from one seed agree in every count, score and probe."""

    def facts(records: list[Record]) -> list[tuple[object, ...]]:
        return [(r.samples, r.tokens, r.updates, r.train_score, r.probes) for r in records]

    expect(facts(first_curve(rule)) == facts(curve(rule)), "two runs from the same seed differ; the rule draws chance or keeps state")


ASKS = PolicyGradient, Preference  # they learn from completions
CONTRACTS: list[tuple[str, Callable[[Rule], None]]] = [
    ("learns last_digit", learns_last_digit),
    ("same seed, same curve", repeats_its_curve),
]
