"""PPO paid by a learned reward model, at several strengths of the pull to the start policy: what the model believes beside what is so.

    python benchmarks/rlhf.py --task chain_sum --kl 0,0.01,0.05,0.2 --seeds 3 --results results

The first table has a row for every strength, the second one for every evaluation of the weakest. "belief" is the share of completions that
the calibrated reward model holds to be right, "gap" by how much that exceeds the share that the verifier finds right: over-optimisation.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from statistics import mean
from typing import Any

from rules import call, command

SHOWN = ("eval/pass@1", "eval/model_belief", "eval/model_gap", "eval/model_score")


def run(task: str, kl: str, seed: int, settings: list[str], results: str) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The evaluated records of one run, each with its KL to the start, and the quality of its reward model."""
    asked = command("ppo", task, seed, [f"algo.kl={kl}", "train.measure_kl=true", *settings], results)
    records, _ = call([*asked, "--reward", "model"])
    facts = {name.removeprefix("reward_model/"): value for name, value in records[0]["probes"].items()}
    return [r for r in records if r["eval_score"] is not None], facts


def row(probes: list[dict[str, float]]) -> str:
    """The means of what is shown, and of the KL to the start."""
    pulls = [p["kl_ref/k1"] for p in probes if "kl_ref/k1" in p]
    return " | ".join([f"{mean(pulls):.3f}" if pulls else "0", *(f"{mean(p[key] for p in probes):.3f}" for key in SHOWN)])


def main() -> None:
    """Runs what is asked for, two processes at a time, and prints two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="chain_sum")
    parser.add_argument("--kl", default="0,0.01,0.05,0.2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", default="results")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    strengths, seeds = arguments.kl.split(","), range(arguments.seeds)
    cells = list(product(strengths, seeds))
    with ThreadPoolExecutor(arguments.workers) as pool:
        done = pool.map(lambda cell: run(arguments.task, *cell, arguments.set, arguments.results), cells)
        found = dict(zip(cells, done, strict=True))
    facts = [found[strengths[0], seed][1] for seed in seeds]
    known = ", ".join(f"{key} {mean(f[key] for f in facts):.3f}" for key in ("accuracy", "margin", "calibration_error"))
    print(f"Reward models on {arguments.task}, means over {len(facts)} seeds: {known}, pairs {mean(f['pairs'] for f in facts):.0f}\n")
    print("| kl | KL to start (nats per token) | verifier | belief | gap | model score (deviations) |\n|---|---|---|---|---|---|")
    for kl in strengths:
        print(f"| {kl} | {row([found[kl, seed][0][-1]['probes'] for seed in seeds])} |")
    print(f"\nkl = {strengths[0]}, along the run:\n")
    print("| samples | KL to start | verifier | belief | gap | model score |\n|---|---|---|---|---|---|")
    for records in zip(*(found[strengths[0], seed][0] for seed in seeds), strict=True):
        print(f"| {records[0]['samples']} | {row([r['probes'] for r in records])} |")


if __name__ == "__main__":
    main()
