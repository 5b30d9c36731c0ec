"""Every metric against a second, plainer computation, on random curves of the shapes that runs have."""

from __future__ import annotations

import math
from random import Random

import numpy
import pytest
from plain_metrics import RUN, SEEDS, Run

from bench import registry

EVALUATED = ("eval/length", "eval/truncated", "eval/pass@1", "eval/pass@2", "eval/pass@8", "eval/lenient", "eval/strict")
TRAINED = ("entropy/token", "gate", "kl_old/k3", "kl_ref/k3", "ratio/ess", "reward/mean", "adv/pos_frac", "sampling/kept_frac")
CURVES = [f"curve {n}" for n in range(60)]


def run_of(name: str, diverges: bool = False) -> Run:
    """A run of 20 to 120 steps that evaluates at 5 to 25 of them: a score that wanders up and, at times, falls for good; entropy that
    decays; gradients with spikes."""
    random = Random(name)
    steps, spent, run = random.randrange(20, 120), 0, []
    every, falls, decay = max(1, steps // random.randrange(5, 25)), random.random() < 0.4, random.uniform(0.9, 1.0)
    level, entropy, tokens = random.uniform(0, 0.4), random.uniform(0.5, 2), 0.0
    for step in range(steps + 1):
        rounds = float(random.randrange(1, 4))
        spent, tokens = spent + 128 * int(rounds) * (step > 0), tokens + random.uniform(500, 3000) * (step > 0)
        row = {
            "step": float(step),
            "samples": float(spent),
            "tokens": tokens,
            "verifier_calls": float(spent),
            "cpu_seconds": 1.5 * step + 1,
        }
        if step:
            entropy *= decay
            row |= {probe: random.random() for probe in TRAINED} | {"entropy/token": entropy * random.uniform(0.8, 1.2)}
            row |= {"grad/norm": random.uniform(0.5, 1.5) * (8 if random.random() < 0.1 else 1), "ratio/max": 1 + random.expovariate(2)}
            row |= {"sampling/rounds": rounds, "sampling/used_tokens_frac": random.random()}
        if step % every == 0 or step == steps:
            level += random.uniform(-0.05, 0.12) if not falls or step < steps / 2 else -0.1
            row |= {probe: random.uniform(0.1, 1) for probe in EVALUATED} | {"eval_score": level}
        run.append(row)
    return [row | {"budget": float(spent), "diverged": float(diverges)} for row in run]


def columns(run: Run, order: Random) -> dict[str, numpy.ndarray]:
    """The same as arrays, its rows shuffled."""
    rows = order.sample(run, len(run))
    return {name: numpy.array([row.get(name, math.nan) for row in rows]) for name in {key for row in run for key in row}}


def same(found: float, wanted: float | None) -> bool:
    return math.isnan(found) if wanted is None else found == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", RUN)
def test_of_a_run(name: str) -> None:
    metric, defined = registry.load("metrics", name)(), 0
    for title in CURVES:
        run = run_of(title)
        wanted = RUN[name](run)
        assert same(metric(columns(run, Random(f"order:{title}"))), wanted), title
        defined += wanted is not None
    assert defined >= 10  # or the comparison says little


@pytest.mark.parametrize("name", SEEDS)
def test_of_several_seeds(name: str) -> None:
    metric, found = registry.load("metrics", name)(), set()
    for title in CURVES:
        random = Random(f"seeds:{title}")
        runs = [run_of(f"{title}:{seed}", diverges=random.random() < 0.3) for seed in range(random.randrange(2, 8))]
        wanted = SEEDS[name](runs)
        assert same(metric([columns(run, Random(f"order:{title}")) for run in runs]), wanted), title
        found.add(wanted)
    assert len(found) > 2


def test_no_metric_is_left_out() -> None:
    assert sorted([*RUN, *SEEDS]) == registry.names("metrics")
