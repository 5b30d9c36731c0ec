"""Every rule at every learning rate of one grid, on the tuning split and a seed that nothing is reported of; prints the scores.

    python benchmarks/rates.py --results results/rates

A rule's rate is the one with the best mean score over the tasks; of equals, the higher. Each run is the ordinary command, so an
interrupted search goes on where it was.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from statistics import mean

from rules import RULES, TASKS, figures, run

SEED = 100


def main() -> None:
    """Runs the grid, two processes at a time, and prints one Markdown row per rule and rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--rates", default="1e-4,3e-4,1e-3,3e-3")
    parser.add_argument("--results", default="results/rates")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    rules, tasks, rates = (text.split(",") for text in (arguments.rules, arguments.tasks, arguments.rates))
    fixed = ["train.eval_split=tune", "train.eval_points=4", *arguments.set]
    cells = list(product(rules, rates, tasks))

    def score(cell: tuple[str, str, str]) -> float:
        rule, rate, task = cell
        return figures(run(rule, task, SEED, [*fixed, f"train.lr={rate}"], arguments.results))["end"]

    with ThreadPoolExecutor(arguments.workers) as pool:
        found = dict(zip(cells, pool.map(score, cells), strict=True))
    print(f"| rule | rate | {' | '.join(tasks)} | mean |")
    print("|---" * (len(tasks) + 3) + "|")
    for rule in rules:
        means = {rate: mean(found[rule, rate, task] for task in tasks) for rate in rates}
        chosen = max(rates, key=lambda rate: (means[rate], float(rate)))
        for rate in rates:
            scores = " | ".join(f"{found[rule, rate, task]:.3f}" for task in tasks)
            print(f"| {rule} | {rate} | {scores} | {means[rate]:.3f}{' (chosen)' if rate == chosen else ''} |")


if __name__ == "__main__":
    main()
