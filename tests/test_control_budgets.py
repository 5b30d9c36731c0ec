"""Runs on Gymnasium end with their budget, and their records miss no episode."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from counting import LENGTHS
from gathering import (
    ENVS,
    MODES,
    SEEDS,
    STEPS,
    WORLD,
    episodes,
    segments,
)

from bench.control.evaluation import Evaluator
from bench.control.training import Run
from tasks.env import Autoreset


@pytest.mark.parametrize("mode", MODES)
def test_a_run_on_segments_ends_with_the_first_segment_that_spends_the_budget(mode: Autoreset) -> None:
    """Evaluation's steps are not in it, and every record counts the steps that the environments had taken."""
    task = replace(WORLD, autoreset=mode)
    trainer = segments(task, budget=200)
    run = Run(trainer, Evaluator(task, 3), trainer.given)
    for records in run.train():
        for row, record in records.items():
            envs: Any = trainer.worlds.env
            taken = sum(env.unwrapped.steps for env in envs.envs[row * ENVS : (row + 1) * ENVS])
            assert record.samples == record.tokens == taken
    assert not run.going
    for progress in run.progress:
        assert 200 <= progress.samples < 200 + ENVS * STEPS


def test_a_run_on_episodes_ends_for_each_seed_with_its_own_budget() -> None:
    trainer = episodes(budget=120)
    run, counted_ = Run(trainer, Evaluator(WORLD, 3), trainer.given), dict[int, list[int]]()
    for records in run.train():
        for row, record in records.items():
            counted_.setdefault(row, []).append(record.samples)
    for samples in counted_.values():
        assert samples[0] == 0 and samples == sorted(set(samples))
        assert samples[-2] < 120 <= samples[-1] <= 120 + 12 * max(LENGTHS)


def test_records_hold_every_finished_episode_once() -> None:
    trainer = segments(budget=200)
    run, played = Run(trainer, Evaluator(WORLD, 3), trainer.given), [0.0] * len(SEEDS)
    for records in run.train():
        for row, record in records.items():
            played[row] += record.probes.get("ep/count", 0.0) * record.probes.get("ep/length", 0.0)
    state = trainer.worlds.state(range(len(SEEDS) * ENVS))
    under_way = (len(state["actions"]) - state["since"]).reshape(len(SEEDS), ENVS).sum(1)
    assert played == pytest.approx([p.samples - int(n) for p, n in zip(run.progress, under_way, strict=True)])
    assert all(math.isfinite(x) for x in played)
