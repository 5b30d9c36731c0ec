"""Seconds and memory of `bench report` on thousands of runs: a study of four text tasks, every text rule, and as many seeds as it takes.

    python benchmarks/report_speed.py                     10,000 runs of 200 records, 44 probes and 11 evaluations of 256 problems
    python benchmarks/report_speed.py --runs 1000
    python benchmarks/report_speed.py --folder /tmp/many  keeps the runs there, and takes those it finds

Making the runs is not measured. Their files are as `bench run` leaves them, but for the checkpoint; numbers are made up, scores differ by
rule and seed. What is measured is one process from its start to its end, with all that it starts: wall seconds, and the largest sum of what
all of its processes held in memory at one moment (PSS: what processes share counts once).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy
from numpy.typing import NDArray

from bench import registry
from bench.config import RunSpec
from bench.errors import BenchError
from bench.provenance import provenance
from bench.resolve import Request, resolve

TASKS = ("gsm8k", "countdown", "chain_sum", "last_digit")
RECORDS, EVALUATIONS, PROBLEMS, SAMPLES = 200, 11, 256, 8
STEP = (RECORDS - 1) // (EVALUATIONS - 1)  # between evaluations
READ = (
    "adv/std",
    "entropy/sampled",
    "entropy/token",
    "ess",
    "gate",
    "grad/norm",
    "kl_old/k3",
    "kl_ref/k1",
    "len/mean",
    "len/truncated_frac",
)
READ += ("ratio/max", "ratio/mean", "ratio/min", "reward/lenient", "reward/mean", "reward/strict", "value/explained_var", "value/loss")
PROBES = (*READ, *(f"another/of_many_{i}" for i in range(44 - len(READ))))
AT_EVALUATIONS = ("eval/errors", "eval/length", "eval/lenient", "eval/pass@1", "eval/pass@2", "eval/pass@4", "eval/pass@8", "eval/strict")
FACTS = provenance()


def specs() -> list[RunSpec]:
    """One for each task and each rule that learns from text."""
    found = []
    for task in TASKS:
        for name in registry.names("algorithms"):
            try:
                found.append(resolve(Request(algorithm=name, task=task, tier="tiny")))
            except BenchError:
                continue  # a rule for Gymnasium
    return found


def make(root: Path, spec: RunSpec, seeds: int) -> int:
    """The runs of one rule on one task; how many."""
    chance = numpy.random.default_rng([*hashlib.sha256(f"{spec.table}:{spec.algorithm.name}".encode()).digest()])
    level = chance.uniform(0.3, 0.8)
    ease = numpy.random.default_rng([*spec.table.encode()]).normal(0, 0.15, PROBLEMS)
    templates = [_template(chance) for _ in range(4)]
    for seed in range(seeds):
        own = replace(spec, seed=seed)
        folder = root / own.table / own.algorithm.name / own.run_id
        folder.mkdir(parents=True, exist_ok=True)
        rise = numpy.linspace(0.3, 1.0, EVALUATIONS)[:, None] * numpy.clip(level + chance.normal(0, 0.03) + ease, 0.01, 0.99)
        items = chance.binomial(8, rise) / 8
        _write(folder, own, templates[seed % len(templates)], items)
    return seeds


def _template(chance: numpy.random.Generator) -> str:
    """A curve with %r where the scores go."""
    lines, longer = [], chance.uniform(1500, 2500)
    for step in range(RECORDS):
        judged = step % STEP == 0 and step // STEP < EVALUATIONS
        names = [*PROBES, *(AT_EVALUATIONS if judged else ())]
        probes = dict(zip(names, chance.random(len(names)).tolist(), strict=True))
        counts = {
            "samples": 128 * step,
            "step": step,
            "tokens": round(longer * step),
            "train_score": float(chance.random()),
            "updates": 4 * step,
        }
        line = json.dumps(
            {"eval_score": "@" if judged else None, "probes": probes, **counts, "verifier_calls": 128 * step}, separators=(",", ":")
        )
        lines.append(line.replace('"@"', "%r"))
    return "\n".join(lines) + "\n"


def _write(folder: Path, spec: RunSpec, template: str, items: NDArray[numpy.float64]) -> None:
    scores = items.mean(1).tolist()
    key = hashlib.sha256(spec.table.encode()).hexdigest()[:12]
    rows = [{"key": key, "scores": row, "step": STEP * i} for i, row in enumerate(items.tolist())]
    slow = 0.6 + 0.001 * (spec.seed % 97)
    times = [{"cpu_seconds": slow * step + 0.7, "seconds": 1.1 * slow * step + 0.8, "step": step} for step in range(RECORDS)]
    kept = [
        {"id": f"made/{i}", "prompt": "2 + 2?", "text": f"#### {i}", "reward": 0.0, "correct": 0.0, "step": i + 1} for i in range(SAMPLES)
    ]
    (folder / "spec.json").write_text(json.dumps({"spec": asdict(spec), "run_id": spec.run_id, "provenance": FACTS}, indent=1))
    (folder / "curve.jsonl").write_text(template % tuple(scores))
    for name, lines in (("items.jsonl", rows), ("timing.jsonl", times), ("samples.jsonl", kept)):
        (folder / name).write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    (folder / "done.json").write_text(json.dumps({"records": RECORDS, "summary": {"score": scores[-1]}}))


def measure(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, peak bytes of all processes together, and processor seconds of a command. Raises SystemExit where it fails."""
    began, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        peak = max(peak, sum(map(_held, _family(process.pid))))
        time.sleep(0.2)
    took = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {process.stderr.read() if process.stderr else ''}")
    spent = os.times()
    return took, peak, spent.children_user + spent.children_system


def _family(process: int) -> list[int]:
    """A process and all that it started."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(one for child in children for one in _family(int(child)))]


def _held(process: int) -> int:
    """Bytes in memory, what is shared counted as this process's part of it."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it ended meanwhile
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="keep the runs here; by default they are removed")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="bench-report-speed-"))
    try:
        results, found = folder / "results", specs()
        seeds = -(-asked.runs // len(found))
        if not results.exists():
            with ProcessPoolExecutor() as pool:
                list(pool.map(make, [results] * len(found), found, [seeds] * len(found)))
        runs = sum(1 for _ in results.glob("*/*/*"))
        size = sum(path.stat().st_size for path in results.glob("*/*/*/*"))
        print(
            f"{runs} runs: {len(found)} entries of {seeds} seeds, {RECORDS} records, {len(PROBES)} probes, {size / 1e9:.1f} GB", flush=True
        )
        before = os.times()
        took, peak, spent = measure([sys.executable, "-m", "bench", "report", "--results", str(results), "--out", str(folder / "out")])
        spent -= before.children_user + before.children_system
        cores, page = len(os.sched_getaffinity(0)), (folder / "out" / "index.html").stat().st_size
        print(f"{took:.1f} s, {spent:.1f} processor seconds on {cores} cores, {peak / 1e9:.2f} GB, page of {page / 1e6:.1f} MB")
    finally:
        if asked.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
