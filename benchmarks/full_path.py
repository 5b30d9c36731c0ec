"""A few rollout batches of every rule on the real GSM8K with a small model of a real shape, full training and adapters: does the path hold?

    python benchmarks/full_path.py --data FOLDER                                    # one process, sampler hf
    python benchmarks/full_path.py --data FOLDER --sampler vllm                     # where vLLM is installed
    torchrun --nproc-per-node 2 benchmarks/full_path.py --data FOLDER --out two     # the same runs in two processes
    python benchmarks/full_path.py --compare full_path two                          # the curves of both, beside each other

FOLDER holds the data set's train.jsonl and test.jsonl. Prints one line per run: steps, completions, tokens, the share of right ones, the
mean gradient norm, the largest gap between the sampler's log-probabilities and the trainer's, and seconds. What is compared are all records
of all runs: the counts must be the same, the largest difference of a probe is printed. A run that is finished is not made again.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import torch

from algorithms.value import ValueRule
from bench import registry
from bench.config import RunSpec
from bench.ranks import Ranks
from bench.record import Record
from bench.resolve import Request, resolve
from bench.run import execute
from bench.store import RunStore
from benchmarks.small_checkpoint import checkpoint

# A rate at which four steps change what is sampled: curves that agree then agree for a reason.
SETTINGS = (
    "train.lr=3e-4",
    "train.critic_lr=3e-4",
    "train.warmup=0",
    "train.prompts=4",
    "train.completions=4",
    "train.limit=16",
    "train.eval_problems=4",
    "train.eval_completions=2",
)
WEIGHTS = {"full": (), "lora": ("model.lora_rank=4",)}
ON_TEXT = [n for n in registry.names("algorithms") if not issubclass(registry.load("algorithms", n), ValueRule)]
WIDTHS = {"algorithm": -19, "train": -5, "from": -6, "steps": 5, "samples": 8, "tokens": 8, "right": 6, "gradient": 8}
WIDTHS |= {"logp gap": 10, "seconds": 8}


def specification(algorithm: str, weights: str, sampler: str, model: Path, data: str, more: tuple[str, ...]) -> RunSpec:
    """Four rollout batches of 16 completions; two or more of a rule that draws again."""
    given = (f"task.data={data}", *SETTINGS, *WEIGHTS[weights], *more)
    request = Request(algorithm=algorithm, task="gsm8k", tier="full", model=str(model), sampler=sampler, budget=64, settings=given)
    return resolve(request)


def line(spec: RunSpec, weights: str, records: list[Record]) -> str:
    """One run."""
    last = records[-1]
    gap = max((r.probes["rollout/logp_gap_max"] for r in records if "rollout/logp_gap_max" in r.probes), default=float("nan"))
    norms = [r.probes["grad/norm"] for r in records if "grad/norm" in r.probes]
    seen = f"{sum(r.train_score for r in records[1:]) / max(1, len(records) - 1):6.2f} {sum(norms) / max(1, len(norms)):8.2f}"
    counts = f"{last.step:5d} {last.samples:8d} {last.tokens:8d} {seen}"
    return f"{spec.algorithm.name:19s} {weights:5s} {spec.sampler.name:6s} {counts} {gap:10.1e} {last.seconds:8.1f}"


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


def make(folder: Path, data: str) -> None:
    """The small checkpoint, where it is not there yet."""
    if not (folder / "config.json").exists():
        task = registry.load("tasks", "gsm8k")(tier="full", data=data)
        checkpoint(folder, list(islice(task.problems("train", 0), 16)))


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
    with Ranks.open() as ranks:
        ranks.does(lambda: make(asked.model, asked.data))
        if ranks.first:
            print(" ".join(f"{n:<{-w}s}" if w < 0 else f"{n:>{w}s}" for n, w in WIDTHS.items()))
        for algorithm in asked.algorithms:
            for weights in WEIGHTS:
                spec = specification(algorithm, weights, asked.sampler, asked.model, asked.data, tuple(asked.more))
                records = execute(spec, RunStore(asked.out), lambda record: None, ranks).records
                if ranks.first:
                    print(line(spec, weights, records), flush=True)


if __name__ == "__main__":
    main()
