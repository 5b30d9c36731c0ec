"""What the tiny board's runs on text cost on this machine's cores: many seeds of one cell side by side, one process and thread each.

The measured cell is GRPO on the tiny gsm8k. What the whole board would take is worked out from it: the CPU-seconds that its runs on text
took where they were made, times how this machine compares on the measured cell, over the number of processes at a time.

    python benchmarks/gpu_board.py --seeds 16
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
RULE, NAME = "grpo", "gsm8k"
BOARD = HERE.parent / "results" / "board"


def train_one(seed: int, samples: int) -> dict[str, float]:
    """A run as `bench run` makes it, evaluations included, without a folder to keep it in."""
    import torch

    from bench import evaluation, registry
    from bench.config import TrainSettings
    from bench.loops.progress import Progress
    from bench.loops.setup import Plan, learner
    from bench.loops.training import train
    from bench.policy import Policy
    from bench.resolve import BASES, Request, resolve
    from bench.samplers.hf import HF
    from bench.verifying import Verifier

    torch.set_num_threads(1)
    began = time.perf_counter()
    spec = resolve(Request(algorithm=RULE, task=NAME, tier="tiny", seed=seed, budget=samples))
    settings, task = spec.train, registry.load("tasks", NAME)(**spec.task.settings)
    assert isinstance(settings, TrainSettings)
    held_out = evaluation.problems(task, settings.eval_split, settings.eval_problems)
    learns = learner(registry.load("algorithms", RULE)(), Policy.load(BASES / NAME), settings, HF(), Verifier(task))
    plan = Plan(task, held_out, settings, seed, max(1, samples // settings.eval_points), samples)
    progress = Progress()
    record = next(records := train(learns, plan, progress))
    while progress.samples < samples:
        record = next(records)
    learns.close()
    return {"seconds": time.perf_counter() - began, "cpu_seconds": record.cpu_seconds}


def published(samples: int) -> dict[str, float] | None:
    """CPU-seconds of the measured cell, of so many samples, and of all runs on text, as the packed board has them; None where it has
    none."""

    def cost(folder: Path) -> float:
        last = gzip.decompress((folder / "timing.jsonl.gz").read_bytes()).splitlines()[-1]
        return float(json.loads(last)["cpu_seconds"])

    folders = sorted(file.parent for file in BOARD.glob("*-tiny/*/*/timing.jsonl.gz"))
    own = [folder for folder in folders if folder.parts[-3:-1] == (f"{NAME}-tiny", RULE)]
    own = [folder for folder in own if json.loads((folder / "done.json").read_text(encoding="utf-8"))["summary"]["samples"] == samples]
    return {"cell": mean(map(cost, own)), "board": sum(map(cost, folders)), "runs": len(folders)} if own else None


def side_by_side(seeds: int, samples: int) -> dict[str, Any]:
    """So many processes at once; their mean, and what follows for the board."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(HERE / "gpu_board.py"), "--samples", str(samples), "--one"]
    began = time.perf_counter()
    started = [
        subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for seed in range(seeds)
    ]
    said = [process.communicate() for process in started]
    wall = time.perf_counter() - began
    failed = [error for process, (_, error) in zip(started, said, strict=True) if process.returncode]
    if failed:
        raise RuntimeError(f"{len(failed)} of {seeds} runs failed: {failed[0][-300:]}")
    runs = [json.loads(out.splitlines()[-1]) for out, _ in said]
    found: dict[str, Any] = {"cell": f"{RULE} on {NAME}, tiny", "seeds_at_once": seeds, "samples": samples, "wall_seconds": wall}
    found |= {name: mean(run[name] for run in runs) for name in ("seconds", "cpu_seconds")}
    known = published(samples)
    if known is not None:
        ratio = found["seconds"] / known["cell"]
        found["board"] = {"runs": known["runs"], "cpu_seconds_where_made": known["board"], "this_machine_per_cpu_second_there": ratio}
        found["board"]["estimated_seconds_here"] = known["board"] * ratio / seeds
    return found


def main() -> None:
    """Prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=0, help="at once; 0: one for each core that may be used")
    parser.add_argument("--samples", type=int, default=10_240, help="of each run")
    parser.add_argument("--one", type=int, default=None, metavar="SEED", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(train_one(arguments.one, arguments.samples)))
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    print(json.dumps(side_by_side(arguments.seeds or cores, arguments.samples)))


if __name__ == "__main__":
    main()
