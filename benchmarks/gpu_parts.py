"""What the sections of `benchmarks/gpu.py` share: sizes, a model of real shape, clocks, and the count of operations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from bench import registry, tiny
from bench.model_settings import ModelSettings
from bench.policy import Policy

Sizes = dict[str, Any]
QWEN: Sizes = {"hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864}
FULL: Sizes = {
    "device": "cuda",
    "shape": QWEN | {"vocab_size": 151_936},
    "prompts": 64,
    "completions": 8,
    "limit": 256,
    "updates": 4,
    "microbatch_tokens": 16_384,
    "steps": 2,
    "memory_tokens": 16 * 512,
    "board_seeds": 0,  # as many as there are cores
    "board_samples": 10_240,
}
SMALL: Sizes = FULL | {
    "device": "cpu",
    "shape": QWEN | {"hidden_size": 56, "num_hidden_layers": 2, "intermediate_size": 64, "vocab_size": 3000},
    "prompts": 4,
    "completions": 2,
    "limit": 8,
    "steps": 1,
    "memory_tokens": 256,
    "board_seeds": 2,
    "board_samples": 128,
}
# Dense bfloat16 operations per second by the vendor's data sheet, by a part of the device's name; the first that fits counts.
PEAKS = {"B200": 2.25e15, "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
TASK = registry.load("tasks", "gsm8k")()


class Clock:
    """Seconds by name."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, dict[str, float]()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*values: Any, **named: Any) -> Any:
            with self.timed(name):
                return call(*values, **named)

        return inner

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


@contextmanager
def peak(device: str, into: dict[str, Any]) -> Iterator[None]:
    """Adds the most memory that was held on a GPU, weights included; nothing on a CPU."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield
    if device == "cuda":
        into["peak_memory_bytes"] = torch.cuda.max_memory_allocated()


def large(sizes: Sizes, *, checkpointing: bool = False) -> Policy:
    """Qwen2.5-0.5B's shape with random weights, bfloat16 arithmetic on float32 weights; the task's own words are its tokenizer."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    with torch.device(sizes["device"]):
        model: Any = Qwen2ForCausalLM(Qwen2Config(**sizes["shape"], tie_word_embeddings=True, eos_token_id=1))
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    settings = ModelSettings(dtype="mixed", gradient_checkpointing=checkpointing)
    policy = Policy.of(model.to(sizes["device"]), tiny.tokenizer(TASK.vocabulary()), settings)
    policy.end, policy.other_ends = -1, frozenset()
    return policy


def attempt(call: Callable[[], Any]) -> Any:
    """What the call gives, or why it gives nothing."""
    try:
        return call()
    except Exception as error:
        return {"absent": f"{type(error).__name__}: {error}"[:500]}


def operations(policy: Policy, prompts: list[list[int]], completions: list[list[int]]) -> float:
    """Floating-point operations that a forward and backward pass cannot do without, six for each weight and token: the body's weights for
    every token read, the head's for every token chosen; and for causal attention 6 * layers * width * length for each token, which is half
    of the square. What checkpointing computes twice counts once."""
    config = policy.model.config
    output = policy.model.get_output_embeddings().weight.numel()
    body = sum(p.numel() for p in policy.model.parameters()) - output * (1 if config.tie_word_embeddings else 2)
    lengths = [len(p) + len(c) - 1 for p, c in zip(prompts, completions, strict=True)]
    width = config.num_attention_heads * getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
    attention = 6 * config.num_hidden_layers * width * sum(length**2 for length in lengths)
    return float(6 * body * sum(lengths) + 6 * output * sum(map(len, completions)) + attention)


def used(policy: Policy, count: float, seconds: float) -> dict[str, float]:
    """Operations per second, and their share of the device's peak where that is known."""
    name = torch.cuda.get_device_name() if policy.device.type == "cuda" else ""
    top = next((top for part, top in PEAKS.items() if part in name), None)
    found = {"operations_per_second": count / seconds}
    return found | ({"device_peak": top, "model_flops_utilisation": count / seconds / top} if top else {})
