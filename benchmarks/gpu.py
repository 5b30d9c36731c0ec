"""Measures a rollout step on this machine's GPU and writes $OUT/gpu.json (./out without OUT): machine, versions, seconds, memory.

    make gpu
    python benchmarks/gpu.py --small      # the same path on the CPU with small numbers, to see that it runs

Two models: the shipped gsm8k base, on the CPU with one thread and on the GPU; and one of Qwen2.5-0.5B's shape with random weights, in
float32. No hub is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from algorithms.grpo import GRPO
from bench import registry, tiny
from bench.config import TrainSettings
from bench.loops.setup import Moved
from bench.loops.updates import Rows, update
from bench.policy import Policy
from bench.provenance import provenance
from bench.resolve import BASES
from bench.rollout import collect, rows, verdicts
from bench.samplers.hf import HF
from bench.verifying import Verifier

TASK = registry.load("tasks", "gsm8k")()
SHAPE = {"hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864}
SMALL = {"hidden_size": 56, "num_hidden_layers": 2, "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 64}


@contextmanager
def timed(into: dict[str, float], name: str, device: str) -> Iterator[None]:
    """Adds the seconds of the block, the device's queued work included."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    began = time.perf_counter()
    yield
    wait()
    into[name] = into.get(name, 0.0) + time.perf_counter() - began


def step(policy: Policy, device: str, prompts: int, each: int, limit: int, number: int, seconds: dict[str, float]) -> int:
    """One rollout step with GRPO: sample, verify, four optimizer steps; returns the tokens sampled."""
    rule, session = GRPO(), HF().open(policy)
    models = Moved(policy=policy, optimizer=torch.optim.AdamW(policy.parameters(), lr=1e-6, fused=True))
    problems = list(islice(TASK.problems("train", number), prompts))
    with Verifier(TASK) as verifier:
        verifier.score([(problems[0], "")])  # the worker's start is not the step's
        with timed(seconds, "sample and verify", device):
            groups = collect(policy, session, verifier, problems, each, limit, f"gpu:{number}")
    batch = verdicts(groups, limit).to(policy.device)
    asked, answers = rows(groups)
    with timed(seconds, "update", device):
        credit = rule.credit(batch)
        for index in torch.arange(len(answers)).tensor_split(4):
            own = index.tolist()
            part = Rows(batch.rows(index), credit.rows(index), [asked[i] for i in own], [answers[i] for i in own])
            update(models, rule, TrainSettings(), part)
    return sum(map(len, answers))


def measure(policy: Policy, device: str, prompts: int, each: int, limit: int, steps: int) -> dict[str, Any]:
    """Mean seconds of a step after one that is not counted, tokens per second, and the peak of memory on a GPU."""
    step(policy, device, prompts, each, limit, 0, {})
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds: dict[str, float] = {}
    tokens = sum(step(policy, device, prompts, each, limit, number, seconds) for number in range(1, steps + 1))
    found: dict[str, Any] = {"prompts": prompts, "completions": each, "limit": limit, "steps": steps, "tokens_per_step": tokens / steps}
    found["seconds_per_step"] = {name: value / steps for name, value in seconds.items()}
    found["tokens_per_second_sampled"] = tokens / seconds["sample and verify"]
    if device == "cuda":
        found["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    return found


def large(device: str, small: bool) -> Policy:
    """Qwen2.5-0.5B's shape and vocabulary size with random weights; the task's own words are its tokenizer."""
    words = tiny.tokenizer(TASK.vocabulary())
    config = Qwen2Config(**(SMALL if small else SHAPE), vocab_size=1000 if small else 151_936, tie_word_embeddings=True, eos_token_id=1)
    torch.manual_seed(0)
    return Policy.of(Qwen2ForCausalLM(config).to(device), words)


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    if not small and not torch.cuda.is_available():
        raise SystemExit("no CUDA device; --small runs the same path on the CPU")
    device = "cpu" if small else "cuda"
    torch.set_num_threads(1)
    found: dict[str, Any] = {"machine": provenance(), "small": small}
    found["tiny gsm8k base, cpu, one thread"] = measure(Policy.load(BASES / "gsm8k"), "cpu", 16, 8, TASK.limit, 2 if small else 5)
    if not small:
        found["tiny gsm8k base, cuda"] = measure(Policy.load(BASES / "gsm8k", device), device, 16, 8, TASK.limit, 5)
    sizes = (4, 2, 8, 1) if small else (8, 8, 128, 3)
    found[f"Qwen2.5-0.5B shape, float32, {device}"] = measure(large(device, small), device, *sizes)
    out = Path(os.environ.get("OUT", "out"))
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({k: v for k, v in found.items() if k != "machine"}, indent=1))
    print(out / "gpu.json")


if __name__ == "__main__":
    main()
