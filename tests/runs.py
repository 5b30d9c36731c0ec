"""A small run to store: what the tests of the results folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.config import Choice, RunSpec
from bench.record import Record
from bench.run import execute
from bench.run_folder import RunFolder
from bench.store import RunStore


def spec(seed: int = 0, algorithm: str = "grpo") -> RunSpec:
    return RunSpec(
        algorithm=Choice(algorithm),
        task=Choice("last_digit"),
        tier="tiny",
        sampler=Choice("hf"),
        model=Choice("base"),
        seed=seed,
        budget=100,
    )


def record(step: int, seconds: float = 1.5) -> Record:
    return Record(
        step=step,
        samples=8 * step,
        tokens=40 * step,
        verifier_calls=8 * step,
        updates=4 * step,
        seconds=seconds,
        cpu_seconds=seconds,
        train_score=0.1 * step,
        eval_score=0.2 if step % 2 == 0 else None,
        probes={"gate": 1.0, "entropy": 0.3},
    )


def store(root: Path) -> RunStore:
    return RunStore(root, reserve=0)


def save(folder: RunFolder, step: int) -> None:
    folder.checkpoint(step, {"model": {"weight": torch.full((3, 2), float(step))}}, {"step": step, "chance": [1, 2]})


class Interrupted(Exception):
    """Stands for whatever ends a process between two records."""


def broken_off(wanted: RunSpec, store: RunStore, stop: int) -> None:
    """Run until the record of this step, which is written but in no checkpoint."""

    def observe(record: Record) -> None:
        if record.step == stop:
            raise Interrupted

    with pytest.raises(Interrupted):
        execute(wanted, store, observe)
