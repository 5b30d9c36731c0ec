"""CPU-seconds of training on Gymnasium, a seed at a time and ten together, and Stable-Baselines3's, in turn and on one thread.

The same algorithm, network, environment, budget and numbers on both sides, RL Baselines3 Zoo's, which our recipes name too. What is timed
is training alone: no start of Python, no evaluation. Each figure is from a process of its own, and they take turns, so that a busy machine
slows all alike; the ratios are what to read. "Products alone" is what the matrix products of the ten take, per seed, with nothing around
them: activations, optimizer, environment and chance come on top of it.

    python benchmarks/control_speed.py --sb3 PYTHON      PYTHON has stable-baselines3 2.9.2
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).parent
Q = {"learning_rate": 2.3e-3, "batch_size": 64, "buffer_size": 100_000, "learning_starts": 1000, "target_update_interval": 10}
Q |= {"train_freq": 256, "gradient_steps": 128, "exploration_fraction": 0.16, "exploration_final_eps": 0.04}
ZOO_DQN = ("algo.n_step=1", "train.lr=2.3e-3", "train.lr_end=1")  # where our recipe says something else
CELLS: dict[str, dict[str, Any]] = {
    "ppo": {
        "task": "cartpole",
        "id": "CartPole-v1",
        "budget": 100_000,
        "envs": 8,
        "settings": {"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20, "ent_coef": 0.0},
        "falling": {"learning_rate": 1e-3, "clip_range": 0.2},
    },
    "a2c": {"task": "cartpole", "id": "CartPole-v1", "budget": 100_000, "envs": 8, "settings": {"ent_coef": 0.0}, "falling": {}},
    "dqn": {
        "task": "cartpole",
        "id": "CartPole-v1",
        "budget": 50_000,
        "envs": 1,
        "settings": Q | {"policy_kwargs": {"net_arch": [256, 256]}},
        "falling": {},
        "ours": ZOO_DQN,
    },
    "sac": {"task": "pendulum", "id": "Pendulum-v1", "budget": 10_000, "envs": 1, "settings": {"learning_rate": 1e-3}, "falling": {}},
}


# For each network of a rule its widths, its copies, and how often an update takes it forward, back to its weights and back to its inputs.
Passes = tuple[list[int], int, int, int, int]
NETWORKS: dict[str, list[Passes]] = {
    "ppo": [([4, 64, 64, 2], 1, 1, 1, 0), ([4, 64, 64, 1], 1, 1, 1, 0)],
    "a2c": [([4, 64, 64, 2], 1, 1, 1, 0), ([4, 64, 64, 1], 1, 1, 1, 0)],
    "dqn": [([4, 256, 256, 2], 1, 2, 1, 0)],  # of the network and its delayed copy
    "sac": [([3, 256, 256, 2], 1, 2, 1, 0), ([4, 256, 256, 1], 2, 3, 1, 1)],
}
ROWS = {"ppo": 256, "a2c": 40, "dqn": 64, "sac": 256}


def products(rule: str, seeds: int, updates: int) -> float:
    """CPU-seconds of the matrix products that so many updates cannot do without, and of nothing else: a bound on any way of training."""
    import torch

    torch.set_num_threads(1)
    pairs = []
    for widths, copies, forward, weights, inputs in NETWORKS[rule]:
        for i, (wide, out) in enumerate(pairwise(widths)):
            x, w = torch.rand(seeds * copies, ROWS[rule], wide), torch.rand(seeds * copies, wide, out)
            g = torch.rand(seeds * copies, ROWS[rule], out)
            pairs += [(x, w)] * forward + [(x.mT, g)] * weights + [(g, w.mT)] * (inputs + (weights if i else 0))
    sample = min(updates, 300)
    for _ in range(20):
        for a, b in pairs:
            torch.bmm(a, b)
    began = time.process_time()
    for _ in range(sample):
        for a, b in pairs:
            torch.bmm(a, b)
    return (time.process_time() - began) * updates / sample


class Unseen:
    """In place of evaluations, which are not timed."""

    def __init__(self, task: Any) -> None:
        self.task = task

    def __call__(self, trainer: Any, rows: Any, names: Any) -> list[dict[str, float]]:
        return [{} for _ in rows]


def ours(rule: str, seeds: int) -> dict[str, Any]:
    """Train so many seeds together and evaluate them once they are done; seconds of all together."""
    sys.path.insert(0, str(HERE.parent))
    from bench.control.build import build
    from bench.control.process import made_small
    from bench.resolve import Request, resolve

    cell = CELLS[rule]
    asked = {"algorithm": rule, "task": cell["task"], "budget": cell["budget"], "settings": cell.get("ours", ())}
    with made_small():
        run = build([resolve(Request(**asked, seed=seed)) for seed in range(seeds)])
        evaluator, run.evaluator = run.evaluator, Unseen(run.evaluator.task)  # type: ignore[assignment]
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in run.train():
            pass
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        run.evaluator = evaluator
        found = evaluator(run.trainer, range(seeds), [f"{seed}:end" for seed in range(seeds)])
        run.close()
    returns = [one["eval/return"] for one in found]
    bare = products(rule, seeds, run.trainer.count.updates)
    return {"cpu": cpu, "wall": wall, "returns": returns, "steps": run.trainer.count.spent, "bare": bare}


def called(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Prints one Markdown row for each algorithm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sb3", default="", help="a Python with stable-baselines3")
    parser.add_argument("--rules", default=",".join(CELLS))
    parser.add_argument("--seeds", type=int, default=10, help="trained together")
    parser.add_argument("--rounds", type=int, default=1, help="of turns; means are printed")
    parser.add_argument("--ours", default="", help=argparse.SUPPRESS)  # RULE:SEEDS, in a process of its own
    arguments = parser.parse_args()
    if arguments.ours:
        rule, _, seeds = arguments.ours.partition(":")
        print(json.dumps(ours(rule, int(seeds))))
        return
    titles = ["rule", "steps", "Stable-Baselines3", "ours, one seed", "ratio", f"ours, {arguments.seeds} together, per seed", "ratio"]
    print(f"| {' | '.join(titles)} | products alone |\n|{'---|' * (len(titles) + 1)}", flush=True)
    for rule in arguments.rules.split(","):
        print(row(rule, arguments), flush=True)


def row(rule: str, arguments: argparse.Namespace) -> str:
    """Turns of one algorithm as a line of the table: CPU-seconds, with the mean return over what was trained in brackets."""
    counts, each = (1, arguments.seeds), dict[Any, list[dict[str, Any]]]()
    for turn in range(arguments.rounds):
        if arguments.sb3:
            asked = json.dumps({**CELLS[rule], "rule": rule, "seed": turn})
            each.setdefault("sb3", []).append(called([arguments.sb3, str(HERE / "peers" / "sb3_control.py"), asked]))
        for count in counts:
            each.setdefault(count, []).append(called([sys.executable, __file__, "--ours", f"{rule}:{count}"]))
    seconds = {who: mean(r["cpu"] / len(r["returns"]) for r in readings) for who, readings in each.items()}
    returns = {who: mean(x for r in readings for x in r["returns"]) for who, readings in each.items()}
    shown = {who: f"{seconds[who]:.1f} s ({returns[who]:.0f})" for who in seconds}
    ratio = {count: f"{seconds['sb3'] / seconds[count]:.1f}" if "sb3" in seconds else "" for count in counts}
    one, many = counts
    bare = mean(r["bare"] / len(r["returns"]) for r in each[many])
    cells = [
        f"`{rule}`",
        f"{CELLS[rule]['budget']:,}",
        shown.get("sb3", ""),
        shown[one],
        ratio[one],
        shown[many],
        ratio[many],
        f"{bare:.1f} s",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
