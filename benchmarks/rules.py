"""Runs every rule on the tiny tasks with several seeds and prints their figures side by side.

    python benchmarks/rules.py --tasks chain_sum,countdown,gsm8k --seeds 3 --results results
    python benchmarks/rules.py --setting reuse --tasks gsm8k --seeds 3

Each run is the ordinary command, so an interrupted benchmark goes on where it was. "near" is near on-policy: four optimizer steps on each
rollout batch, once over. "reuse" passes four times over each batch, where the rules' gates have work to do. REINFORCE and A2C as published
take one step per batch in either; reuse gives REINFORCE truncated importance weights, so that it may take sixteen.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from statistics import mean
from typing import Any

RULES = ("reinforce", "a2c", "ppo", "dpo", "grpo", "dapo", "gspo", "sapo")
CONTROLS = ("untrained", "random_reward", "format_reward", "shuffled_advantage", "sft_on_correct")
TASKS = ("chain_sum", "countdown", "gsm8k")
REUSE = ["train.epochs=4"]
REUSED = {"reinforce": [*REUSE, "algo.ratio_cap=2"], "a2c": []}  # where it is something else


def command(rule: str, task: str, seed: int, settings: Sequence[str], results: str, budget: int = 0) -> list[str]:
    """The `bench` command of one cell."""
    base = [sys.executable, "-m", "bench", "run", "--algo", rule, "--task", task, "--tier", "tiny", "--seed", str(seed), "--json"]
    more = ["--results", results] + (["--budget", str(budget)] if budget else [])
    return base + more + [part for pair in settings for part in ("--set", pair)]


def call(asked: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The records of one run, and its closing line. Ends the program where the run fails."""
    done = subprocess.run(asked, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    shown = " ".join(asked[4:])
    if done.returncode:
        raise SystemExit(f"{shown}: {done.stderr.strip()}")
    print(f"{shown}: done", file=sys.stderr, flush=True)
    *records, last = [json.loads(line) for line in done.stdout.splitlines()]
    return records, last


def run(rule: str, task: str, seed: int, settings: Sequence[str], results: str, budget: int = 0) -> list[dict[str, Any]]:
    """The records of one run."""
    return call(command(rule, task, seed, settings, results, budget))[0]


def figures(records: list[dict[str, Any]]) -> dict[str, float]:
    """Headline figures of one run; means over the steps where a figure is one of training."""
    evaluated = [r["eval_score"] for r in records if r["eval_score"] is not None]
    last = next(r["probes"] for r in reversed(records) if r["eval_score"] is not None)

    def over(key: str) -> float:
        return mean([r["probes"][key] for r in records if key in r["probes"]] or [float("nan")])

    return {
        "start": evaluated[0],
        "end": evaluated[-1],
        "best": max(evaluated),
        "pass@8": last.get("eval/pass@8", float("nan")),
        "entropy": next(r["probes"]["entropy/token"] for r in reversed(records) if "entropy/token" in r["probes"]),
        "gate": over("gate"),
        "gate/min": min((r["probes"]["gate"] for r in records if "gate" in r["probes"]), default=float("nan")),
        "kl_old": over("kl_old/k3"),
        "kl_ref": next((r["probes"]["kl_ref/k1"] for r in reversed(records) if "kl_ref/k1" in r["probes"]), float("nan")),
        "length": last["eval/length"],
        "updates": records[-1]["updates"],
        "cpu_seconds": records[-1]["cpu_seconds"],
    }


def main() -> None:
    """Runs what is asked for, two processes at a time, and prints one Markdown row per rule and task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--setting", choices=("near", "reuse"), default="near")
    parser.add_argument("--budget", type=int, default=0)
    parser.add_argument("--results", default="results")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    cells = list(product(arguments.rules.split(","), arguments.tasks.split(","), range(arguments.seeds)))
    cells.sort(key=lambda cell: cell[1])

    def one(cell: tuple[str, str, int]) -> dict[str, float]:
        own = REUSED.get(cell[0], REUSE) if arguments.setting == "reuse" else []
        return figures(run(*cell, [*own, *arguments.set], arguments.results, arguments.budget))

    with ThreadPoolExecutor(arguments.workers) as pool:
        found = dict(zip(cells, pool.map(one, cells), strict=True))
    print(HEADER + "\n" + "|---" * HEADER.count(" |") + "|")
    for task, rule in product(arguments.tasks.split(","), arguments.rules.split(",")):
        runs = [found[rule, task, seed] for seed in range(arguments.seeds)]
        print(row(task, rule, runs, [found[r, t, s] for r, t, s in cells if (r, t) == ("grpo", task)]))


HEADER = (
    "| task | rule | start | end (each seed) | end | pass@8 | entropy | gate (lowest) | KL to old | KL to start | length | updates "
    "| CPU-s | of GRPO's |"
)


def row(task: str, rule: str, runs: list[dict[str, float]], grpo: list[dict[str, float]]) -> str:
    """One line of the table, with the cost in CPU time as a multiple of GRPO's runs of the same task, where there are any."""
    average = {key: mean(r[key] for r in runs) for key in runs[0]}
    cost = f"{average['cpu_seconds'] / mean(r['cpu_seconds'] for r in grpo):.2f}" if grpo else ""
    ends = " ".join(f"{r['end']:.3f}" for r in runs)
    return (
        f"| {task} | {rule} | {average['start']:.3f} | {ends} | {average['end']:.3f} | {average['pass@8']:.3f} | {average['entropy']:.3f} "
        f"| {average['gate']:.3f} ({average['gate/min']:.3f}) | {average['kl_old']:.5f} | {average['kl_ref']:.3f} "
        f"| {average['length']:.1f} | {average['updates']:.0f} | {average['cpu_seconds']:.0f} | {cost} |"
    )


if __name__ == "__main__":
    main()
