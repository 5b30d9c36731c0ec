"""Several processes of one run on this machine, started as a launcher would. As a script: one of those processes."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import run
from bench.config import RunSpec
from bench.loops import training
from bench.models import BASES
from bench.resolve import Request, resolve

SMALL = ("train.prompts=4", "train.completions=4", "train.eval_problems=8", "train.eval_completions=2", "train.warmup=2")
RULES: dict[str, tuple[str, ...]] = {
    "grpo": ("algo.kl=0.05", "train.microbatch=3"),
    "ppo": ("algo.target_kl=1e-3", "train.ptx_coef=0.1"),
    "dpo": ("algo.sampling=iterative", "algo.every=2"),
}


def spec(algorithm: str, *settings: str, budget: int = 64, **more: Any) -> RunSpec:
    asked = (*SMALL, *RULES[algorithm], *settings)
    return resolve(Request(algorithm=algorithm, task="last_digit", tier="tiny", budget=budget, settings=asked, **more))


def started(count: int, *arguments: str, **variables: str) -> list[subprocess.Popen[str]]:
    """`python arguments` in every process, with places among `count`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join((str(BASES.parents[1]), str(Path(__file__).parent)))
    shared = {**os.environ, "PYTHONPATH": path, **common, **variables}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def ended(processes: Sequence[subprocess.Popen[str]], seconds: float = 300) -> list[tuple[int, str, str]]:
    """Exit status, standard output and errors of each; those that do not end are killed."""
    found = []
    until = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
        output, errors = process.communicate()
        found.append((process.returncode, output, errors))
    return found


def planned(fault: str) -> None:
    """`rank:step:how` lets a process fail at the start of a step."""
    at, when, how = fault.split(":")
    plain = training.fill

    def fill(learner: Any, plan: Any, progress: Any, stream: Any) -> Any:
        if (os.environ.get("RANK"), str(progress.step)) == (at, when):
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise (RuntimeError if how == "runtime" else ValueError)("planned")
        return plain(learner, plan, progress, stream)

    training.fill = fill


if __name__ == "__main__":
    run.SAVE_SHARE = math.inf  # every step is saved
    if fault := os.environ.get("FAULT"):
        planned(fault)
    from bench.cli import main

    main()
