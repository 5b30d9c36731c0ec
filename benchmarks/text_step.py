"""Seconds of one rollout step on text, ours and TRL's in turn, on one thread of a CPU.

A step: 16 prompts x 8 completions of exactly 40 tokens from a 0.3M-parameter Qwen3 with random weights, a trivial verifier, GRPO's
credit, four minibatches of forward, backward, clipping and AdamW. Both sides run as processes of their own, A B A B, so that a busy
machine slows both alike; the first step of each is not timed. TRL computes the old log-probabilities by another forward pass, as its
trainer does in this setting; ours come from the sampler, whose values are the trainer's own.

    python benchmarks/text_step.py --trl PYTHON      PYTHON has trl, requests and datasets installed
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
WORDS = ["<pad>", "<eos>", "<unk>", *"0123456789+-*/=(); "]
SETUP: dict[str, Any] = {
    "prompts": 16,
    "completions": 8,
    "limit": 40,
    "updates": 4,
    "lr": 3e-4,
    "words": WORDS,
    "texts": [f"{i % 50}+{i % 7}+{i % 9}+{i % 5}+{i % 3}=" for i in range(1024)],
    "model": {
        "vocab_size": len(WORDS),
        "hidden_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 24,
        "intermediate_size": 256,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 1,
    },
}


class Watch:
    """Wall seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*values: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = call(*values, **named)
            self.seconds[name] += time.perf_counter() - start
            return result

        return inner


def ours(steps: int) -> dict[str, Any]:
    """[wall, CPU] seconds of each step, and where the wall time went."""
    sys.path.insert(0, str(HERE.parent))
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from algorithms.grpo import GRPO
    from bench.loops.updates import update
    from bench.policy import Policy
    from bench.samplers.hf import HF
    from bench.tiny import tokenizer

    torch.set_num_threads(1)
    policy, watch = Policy.of(Qwen3ForCausalLM(Qwen3Config(**SETUP["model"])), tokenizer(WORDS[3:])), Watch()
    policy.end = -1  # no token ends a completion, so each has the full length
    optimizer = torch.optim.AdamW(policy.parameters(), lr=SETUP["lr"], weight_decay=0.0, fused=True)
    policy.forward = watch.timed("forward", policy.forward)
    optimizer.step = watch.timed("optimizer", optimizer.step)
    session, rule, timed_update = HF().open(policy), GRPO(), watch.timed("update", update)
    session.share = watch.timed("sampling", session.share)
    readings = []
    for step in range(steps + 1):
        if step == 1:
            watch.seconds.clear()
        start = time.perf_counter(), time.process_time()
        one_step(policy, session, rule, optimizer, timed_update, step)
        session.refresh()
        readings.append([time.perf_counter() - start[0], time.process_time() - start[1]])
    spent = dict(watch.seconds)
    whole = sum(wall for wall, _ in readings[1:])
    spent["backward, objective, clipping"] = spent["update"] - spent["forward"] - spent["optimizer"]
    spent["everything else"] = whole - spent.pop("update") - spent["sampling"]
    return {"readings": readings[1:], "spent": {name: seconds / steps for name, seconds in spent.items()}}


def one_step(policy: Any, session: Any, rule: Any, optimizer: Any, update: Callable[..., Any], step: int) -> None:
    from algorithms.base import Batch
    from bench.config import TrainSettings
    from bench.loops.setup import Moved
    from bench.loops.updates import Rows

    count, n, limit = SETUP["prompts"], SETUP["completions"], SETUP["limit"]
    prompts = [policy.encode(SETUP["texts"][(step * count + i) % len(SETUP["texts"])]) for i in range(count)]
    done = [completion for group in session.sample(prompts, n, limit, f"benchmark:{step}") for completion in group]
    rows, tokens = [prompt for prompt in prompts for _ in range(n)], [completion.tokens for completion in done]
    reward = torch.zeros(count * n, limit)
    reward[:, -1] = torch.tensor([float("7" in completion.text) for completion in done])
    batch = Batch(
        group=torch.arange(count).repeat_interleave(n),
        reward=reward,
        mask=torch.ones_like(reward, dtype=torch.bool),
        old_logp=torch.tensor([completion.logp for completion in done]),
        limit=limit,
    )
    credit, order = rule.credit(batch), torch.randperm(count * n, generator=torch.Generator().manual_seed(step))
    for index in order.chunk(SETUP["updates"]):
        own = index.tolist()
        part = Rows(batch.rows(index), credit.rows(index), [rows[i] for i in own], [tokens[i] for i in own])
        update(Moved(policy=policy, optimizer=optimizer), rule, TrainSettings(), part)


def operations() -> float:
    """Floating-point operations of one step, counted: 2 per multiply-add, three times a forward for forward and backward, causal
    attention at half its square, the vocabulary only where a token is chosen, a prompt once for all its completions while sampling."""
    model, rows = SETUP["model"], SETUP["prompts"] * SETUP["completions"]
    size, width = model["hidden_size"], model["num_attention_heads"] * model["head_dim"]
    keys = model["num_key_value_heads"] * model["head_dim"]
    layer = size * (2 * width + 2 * keys) + 3 * size * model["intermediate_size"]
    prompt = statistics.mean(map(len, SETUP["texts"][: SETUP["prompts"] * 8]))
    new, layers = SETUP["limit"], model["num_hidden_layers"]
    length = prompt + new - 1  # the last token is never read
    path = 2 * layers * (length * layer + width * length**2) + 2 * new * size * model["vocab_size"]
    shared = (rows - SETUP["prompts"]) * 2 * layers * (prompt * layer + width * prompt**2)
    return float(rows * path * 4 - shared)  # sampling once, training three times


def rate(rows: int, inner: int, columns: int, seconds: float = 0.5) -> float:
    """Operations per second of a (rows, inner) x (inner, columns) product on one thread, the best of many."""
    torch.set_num_threads(1)
    left, right = torch.randn(rows, inner), torch.randn(columns, inner).T
    out, best, until = torch.empty(rows, columns), float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * rows * inner * columns / best


def run(command: list[str]) -> Any:
    """What a process prints as its last line."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:2])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def report(sides: list[tuple[dict[str, Any], Any]]) -> None:
    columns = {"wall": 0, "CPU": 1}
    print(f"{'seconds per rollout step':<34}" + "".join(f"{name:>18}" for name in ("ours", "TRL", "TRL / ours")))
    for name, column in columns.items():
        medians = [[statistics.median(x[column] for x in side) for side in (own["readings"], peer)] for own, peer in sides]
        for pair, (own, peer) in enumerate(medians, start=1):
            print(f"{f'{name}, pair {pair}':<34}{own:>18.3f}{peer:>18.3f}{peer / own:>18.2f}")
        ratios = sorted(peer / own for own, peer in medians)
        print(f"{f'{name}, ratio':<34}{'median':>18}{statistics.median(ratios):>18.2f}{f'{ratios[0]:.2f} to {ratios[-1]:.2f}':>18}")
    print("\nwhere our wall time goes (mean of all steps)")
    whole = statistics.mean(sum(own["spent"].values()) for own, _ in sides)
    for part in sides[0][0]["spent"]:
        seconds = statistics.mean(own["spent"][part] for own, _ in sides)
        print(f"{part:<34}{seconds:>18.3f}{seconds / whole:>17.0%}")
    count = operations()
    print(f"\narithmetic limit: {count / 1e9:.1f} GFLOP per step")
    model, tokens = SETUP["model"], 16 * (SETUP["limit"] + 10)
    shapes = {"1024 x 1024 x 1024": (1024, 1024, 1024), "gate and up": (tokens, model["hidden_size"], 2 * model["intermediate_size"])}
    shapes |= {"down": (tokens, model["intermediate_size"], model["hidden_size"]), "query, key, value": (tokens, model["hidden_size"], 192)}
    for name, shape in shapes.items():
        speed = rate(*shape)
        print(f"{name:<34}{speed / 1e9:>11.0f} GFLOP/s{count / speed:>16.3f} s per step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", metavar="PYTHON", help="an interpreter that has trl; without it only our side runs")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="timed rollout steps per process")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(ours(arguments.steps)))
        return
    own = [sys.executable, str(HERE / "text_step.py"), "--child", "--steps", str(arguments.steps)]
    peer = [arguments.trl, str(HERE / "peers" / "trl_step.py"), json.dumps(SETUP), "--steps", str(arguments.steps)]
    if not arguments.trl:
        print(json.dumps(run(own), indent=1))
        return
    report([(run(own), run(peer)) for _ in range(arguments.pairs)])


if __name__ == "__main__":
    main()
