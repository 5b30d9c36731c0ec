"""Two rollout batches of every rule on the real GSM8K with a small model of a real shape, full training and adapters: does the path hold?

    python benchmarks/full_path.py --data FOLDER                                    # one process, sampler hf
    python benchmarks/full_path.py --data FOLDER --sampler vllm                     # where vLLM is installed
    torchrun --nproc-per-node 2 benchmarks/full_path.py --data FOLDER --out two     # the same runs in two processes
    python benchmarks/full_path.py --compare full_path two                          # the curves of both, beside each other

FOLDER holds the data set's train.jsonl and test.jsonl. Prints one line per run: steps, completions, tokens, the largest gap between the
sampler's log-probabilities and the trainer's, and seconds. What is compared are all records of all runs: the counts must be the same, the
largest difference of a probe is printed. A run that is finished is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from algorithms.value import ValueRule
from bench import registry
from bench.config import RunSpec
from bench.record import Record
from bench.resolve import Request, resolve
from bench.run import execute
from bench.store import RunStore
from benchmarks.small_checkpoint import checkpoint
from tasks.gsm8k_data import load

SETTINGS = ("train.prompts=4", "train.completions=4", "train.limit=16", "train.eval_problems=4", "train.eval_completions=2")
WEIGHTS = {"full": (), "lora": ("model.lora_rank=4",)}
ON_TEXT = [n for n in registry.names("algorithms") if not issubclass(registry.load("algorithms", n), ValueRule)]


def specification(algorithm: str, weights: str, sampler: str, model: Path, data: str, more: tuple[str, ...]) -> RunSpec:
    """Two rollout batches of 16 completions."""
    given = (f"task.data={data}", *SETTINGS, *WEIGHTS[weights], *more)
    request = Request(algorithm=algorithm, task="gsm8k", tier="full", model=str(model), sampler=sampler, budget=32, settings=given)
    return resolve(request)


def line(spec: RunSpec, weights: str, records: list[Record]) -> str:
    """One run."""
    last = records[-1]
    gap = max((r.probes["rollout/logp_gap_max"] for r in records if "rollout/logp_gap_max" in r.probes), default=float("nan"))
    counts = f"{last.step:5d} {last.samples:8d} {last.tokens:8d}"
    return f"{spec.algorithm.name:18s} {weights:5s} {spec.sampler.name:6s} {counts} {gap:10.1e} {last.seconds:8.1f}"


def compare(one: Path, other: Path) -> None:
    """Prints how far the runs of two folders are apart. Raises SystemExit where counts differ or a run is missing."""
    worst, name, runs = 0.0, "", 0
    for run in RunStore(one).runs():
        (twin,) = [info for info in RunStore(other).runs(algorithm=run.folder.parent.name) if info.run_id == run.run_id] or [None]
        if twin is None:
            raise SystemExit(f"{other} has no run {run.run_id} of {run.folder.parent.name}")
        runs += 1
        for a, b in zip(run.records(), twin.records(), strict=True):
            if (a.step, a.samples, a.tokens, a.updates) != (b.step, b.samples, b.tokens, b.updates) or a.probes.keys() != b.probes.keys():
                raise SystemExit(f"{run.folder} and {twin.folder} part at step {a.step}: {a} is not {b}")
            for key, value in a.probes.items():
                apart = abs(value - b.probes[key]) / max(1.0, abs(value))
                if apart > worst:
                    worst, name = apart, f"{key} of {run.folder.parent.name}, step {a.step}"
    print(f"{runs} runs, the same counts in all; the largest relative difference of a probe is {worst:.1e} ({name})")


def main() -> None:
    """Prints the table, or the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--sampler", default="hf")
    parser.add_argument("--algorithms", nargs="+", default=ON_TEXT)
    parser.add_argument("--out", type=Path, default=Path("full_path"))
    parser.add_argument("--model", type=Path, default=Path("full_path_model"), help="where the small checkpoint is, or is made")
    parser.add_argument("--set", action="append", default=[], dest="more")
    parser.add_argument("--compare", nargs=2, type=Path)
    asked = parser.parse_args()
    if asked.compare:
        compare(*asked.compare)
        return
    if not asked.data:
        parser.error("--data names the folder with the data set")
    torch.set_num_threads(1)
    if not (asked.model / "config.json").exists():
        checkpoint(asked.model, [f"{question}\n{answer}" for question, answer, _ in load("train", asked.data)[:500]])
    print(f"{'algorithm':18s} {'train':5s} {'from':6s} {'steps':>5s} {'samples':>8s} {'tokens':>8s} {'logp gap':>10s} {'seconds':>8s}")
    for algorithm in asked.algorithms:
        for weights in WEIGHTS:
            spec = specification(algorithm, weights, asked.sampler, asked.model, asked.data, tuple(asked.more))
            print(line(spec, weights, execute(spec, RunStore(asked.out), lambda record: None).records), flush=True)


if __name__ == "__main__":
    main()
