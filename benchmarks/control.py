"""Scores on Gymnasium and on logs: every rule at the budget that its opponents publish, ten seeds together, one process for each row.

    python benchmarks/control.py --results results                 the classic baselines
    python benchmarks/control.py --part family                     rules made for text, on episodes from equal starts
    python benchmarks/control.py --part logs                       offline rules and their controls

Each row is the ordinary command with `--seeds`, so an interrupted benchmark goes on where it was. Prints the mean return of the last
evaluation over the seeds, of the deterministic policy, with a 95 % percentile-bootstrap interval of that mean, the seeds' range, and the
mean of each seed's best evaluation, which is optimistic.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy

PARTS: dict[str, list[tuple[str, str, int]]] = {
    "baselines": [
        ("ppo", "cartpole", 100_000),
        ("a2c", "cartpole", 500_000),
        ("dqn", "cartpole", 50_000),
        ("ppo", "acrobot", 1_000_000),
        ("ppo", "lunar_lander", 1_000_000),
        ("sac", "pendulum", 20_000),
    ],
    "family": [(rule, "cartpole", 100_000) for rule in ("reinforce", "grpo", "dapo", "gspo", "sapo")],
    "logs": [
        *((rule, "cartpole_logged", 10_000) for rule in ("cql", "dqn", "bc")),
        *((rule, "pendulum_logged", 5_000) for rule in ("cql", "sac", "bc")),
    ],
}


def run(row: tuple[str, str, int], seeds: int, results: str) -> list[list[dict[str, Any]]]:
    """The records of each seed."""
    rule, task, budget = row
    asked = [sys.executable, "-m", "bench", "run", "--algo", rule, "--task", task, "--budget", str(budget), "--json"]
    asked += ["--seeds", f"0..{seeds - 1}", "--results", results]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(asked[3:])}: {done.stderr.strip()}")
    print(f"{' '.join(asked[4:])}: done", file=sys.stderr, flush=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [[line for line in lines if line.get("seed") == seed and "probes" in line] for seed in range(seeds)]


def interval(values: list[float]) -> tuple[float, float]:
    """A 95 % percentile-bootstrap interval of the mean."""
    drawn = numpy.random.default_rng(0).choice(values, (10_000, len(values))).mean(1)
    low, high = numpy.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def line(row: tuple[str, str, int], runs: list[list[dict[str, Any]]]) -> str:
    """One row of the table."""
    evaluated = [[r["probes"] for r in records if "eval/return" in r["probes"]] for records in runs]
    ends, best = [e[-1]["eval/return"] for e in evaluated], [max(p["eval/return"] for p in e) for e in evaluated]
    sampled = float(numpy.mean([e[-1]["eval/return_stochastic"] for e in evaluated]))
    low, high = interval(ends)
    seconds = float(numpy.mean([records[-1]["cpu_seconds"] for records in runs]))
    return (
        f"| {row[1]} | `{row[0]}` | {row[2]:,} | {numpy.mean(ends):.1f} [{low:.1f}, {high:.1f}] | {min(ends):.1f} to {max(ends):.1f} "
        f"| {sampled:.1f} | {numpy.mean(best):.1f} | {seconds:.1f} |"
    )


def main() -> None:
    """Runs what is asked for and prints one Markdown row for each rule and task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=tuple(PARTS), default="baselines")
    parser.add_argument("--only", default="", help="RULE:TASK of one row")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--results", default="results")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    rows = [row for row in PARTS[arguments.part] if not arguments.only or arguments.only == f"{row[0]}:{row[1]}"]
    with ThreadPoolExecutor(arguments.workers) as pool:
        found = list(pool.map(lambda row: run(row, arguments.seeds, arguments.results), rows))
    print("| task | rule | budget | end, mean [95 %] | seeds | stochastic | best | CPU-s a seed |\n|---|---|---|---|---|---|---|---|")
    for row, runs in zip(rows, found, strict=True):
        print(line(row, runs))


if __name__ == "__main__":
    main()
