"""Stable-Baselines3's side of `benchmarks/control_speed.py`: its trainer on the environment, networks and numbers given there.

Needs stable-baselines3 in whatever environment it is run by; takes one JSON object and prints one.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import stable_baselines3
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy


def falling(start: float) -> Any:
    """A value that falls linearly to 0 over training."""
    return lambda left: start * left


def main() -> None:
    """Train on one thread; the time is that of `learn` alone."""
    torch.set_num_threads(1)
    asked = json.loads(sys.argv[1])
    settings = asked["settings"] | {name: falling(start) for name, start in asked["falling"].items()}
    rule = getattr(stable_baselines3, asked["rule"].upper())
    model = rule("MlpPolicy", make_vec_env(asked["id"], asked["envs"], seed=asked["seed"]), seed=asked["seed"], device="cpu", **settings)
    wall, cpu = time.perf_counter(), time.process_time()
    model.learn(asked["budget"])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    score, _ = evaluate_policy(model, make_vec_env(asked["id"], seed=asked["seed"] + 10_000), n_eval_episodes=20)
    print(json.dumps({"cpu": cpu, "wall": wall, "returns": [float(score)], "steps": model.num_timesteps}))


if __name__ == "__main__":
    main()
