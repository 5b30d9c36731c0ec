"""What `benchmarks/gpu.py` measures, one function per section; each is run in a process of its own.

A function takes the sizes and gives JSON values. Models have real shape and random weights, so no hub is needed, and completions are cut
at the limit: all have its length. The device's queued work is waited for before a clock is read.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import memory  # noqa: E402
from gpu_parts import TASK, Clock, Sizes, attempt, large, operations, peak, used  # noqa: E402

from algorithms.base import Batch  # noqa: E402
from algorithms.grpo import GRPO  # noqa: E402
from bench import registry, tiny  # noqa: E402
from bench.config import TrainSettings  # noqa: E402
from bench.loops.setup import Moved  # noqa: E402
from bench.loops.updates import Rows, update  # noqa: E402
from bench.models import BASES  # noqa: E402
from bench.policy import Policy  # noqa: E402
from bench.rollout import collect, rows, verdicts  # noqa: E402
from bench.samplers.hf import HF  # noqa: E402
from bench.verifying import Verifier  # noqa: E402


def asked(policy: Policy, sizes: Sizes, number: int) -> list[list[int]]:
    return [policy.encode(problem.prompt) for problem in islice(TASK.problems("train", number), sizes["prompts"])]


def sampling(sizes: Sizes) -> dict[str, Any]:
    """Tokens per second of each way to sample; the first call, which sets up and records graphs, apart."""
    policy = large(sizes)
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in policy.parameters())}
    for decode in ("static", "cached"):
        session = HF(rows=sizes["prompts"] * sizes["completions"], decode=decode).open(policy)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found[decode] = speed(policy, session, sizes) | ({"warnings": [str(w.message) for w in said]} if said else {})
        if session.static is not None:
            found[decode] |= {"graphs": len(session.static.graphs), "captured": session.static.capture}
        session.close()
    found["vllm"] = attempt(lambda: speed(policy, registry.load("samplers", "vllm")().open(policy), sizes))
    return found


def speed(policy: Policy, session: Any, sizes: Sizes) -> dict[str, Any]:
    clock, found = Clock(sizes["device"]), dict[str, Any]()
    prompts = asked(policy, sizes, 0)
    with peak(sizes["device"], found):
        with clock.timed("first_call"):
            session.sample(prompts, sizes["completions"], sizes["limit"], "first")
        with clock.timed("next"):
            done = [session.sample(prompts, sizes["completions"], sizes["limit"], f"next:{i}") for i in range(sizes["steps"])]
    tokens = sum(len(c.tokens) for call in done for group in call for c in group)
    return found | {"tokens_per_second": tokens / clock.seconds["next"], "first_call_seconds": clock.seconds["first_call"]}


def fake(policy: Policy, sizes: Sizes) -> tuple[Batch, list[list[int]], list[list[int]]]:
    """A batch for one optimizer step, of random tokens."""
    draw = torch.Generator().manual_seed(0)
    prompts = [prompt for prompt in asked(policy, sizes, 0) for _ in range(sizes["completions"])]
    prompts = prompts[: max(2, len(prompts) // sizes["updates"])]
    shape = len(prompts), sizes["limit"]
    completions = torch.randint(sizes["shape"]["vocab_size"], shape, generator=draw).tolist()
    reward = torch.zeros(shape)
    reward[:, -1] = torch.arange(len(prompts)) % 2
    group = torch.arange(len(prompts)) // 2
    batch = Batch(group=group, reward=reward, mask=torch.ones(shape, dtype=torch.bool), old_logp=torch.full(shape, -9.0), limit=shape[1])
    return batch.to(policy.device), prompts, completions


def training(sizes: Sizes) -> dict[str, Any]:
    """Tokens per second, use of the device and peak memory of one optimizer step, its layers kept and recomputed."""
    return {name: one_way(sizes, name == "recomputed") for name in ("kept", "recomputed")}


def one_way(sizes: Sizes, checkpointing: bool) -> dict[str, Any]:
    policy = large(sizes, checkpointing=checkpointing)
    models = Moved(policy=policy, optimizer=torch.optim.AdamW(policy.parameters(), lr=1e-6, fused=True))
    batch, prompts, completions = fake(policy, sizes)
    part, rule = Rows(batch, GRPO().credit(batch), prompts, completions), GRPO()
    settings = TrainSettings(microbatch_tokens=sizes["microbatch_tokens"])
    clock, found = Clock(sizes["device"]), dict[str, Any]()
    update(models, rule, settings, part)
    with peak(sizes["device"], found), clock.timed("update"):
        for _ in range(sizes["steps"]):
            update(models, rule, settings, part)
    seconds = clock.seconds["update"] / sizes["steps"]
    tokens = sum(map(len, prompts)) + sum(map(len, completions))
    found |= {"tokens_per_second": tokens / seconds, "seconds_per_optimizer_step": seconds, "tokens": tokens}
    return found | used(policy, operations(policy, prompts, completions), seconds)


def step(sizes: Sizes) -> dict[str, Any]:
    """Seconds of a whole GRPO step and where they go; one step before, which is not counted."""
    return Steps(large(sizes), sizes).measured()


class Steps:
    """Whole steps: sample, verify, score the completions once more, and step the optimizer `updates` times."""

    def __init__(self, policy: Policy, sizes: Sizes) -> None:
        self.policy, self.sizes, self.clock, self.rule = policy, sizes, Clock(sizes["device"]), GRPO()
        self.session = HF(rows=sizes["prompts"] * sizes["completions"]).open(policy)
        self.session.share = self.clock.wrapped("sampling", self.session.share)
        self.models = Moved(policy=policy, optimizer=torch.optim.AdamW(policy.parameters(), lr=1e-6, fused=True))

    def measured(self) -> dict[str, Any]:
        found, count = dict[str, Any](), self.sizes["steps"]
        with Verifier(TASK) as verifier:
            self.one(verifier, 0)
            self.clock.seconds.clear()
            with peak(self.sizes["device"], found), self.clock.timed("whole"):
                tokens = sum(self.one(verifier, number + 1) for number in range(count))
        each = {name: seconds / count for name, seconds in self.clock.seconds.items()}
        whole, collecting = each.pop("whole"), each.pop("collecting")
        each["verifying"] = collecting - each["sampling"]
        each["else"] = whole - sum(each.values())
        return found | {"seconds": whole, "seconds_by_part": each, "completion_tokens": tokens / count}

    def one(self, verifier: Verifier, number: int) -> int:
        """The tokens sampled."""
        sizes, policy, limit = self.sizes, self.policy, self.sizes["limit"]
        problems = list(islice(TASK.problems("train", number), sizes["prompts"]))
        with self.clock.timed("collecting"):
            groups = collect(policy, self.session, verifier, problems, sizes["completions"], limit, f"gpu:{number}")
        batch = verdicts(groups, limit).to(policy.device)
        prompts, answers = rows(groups)
        with self.clock.timed("scoring"), torch.no_grad():
            policy.forward(prompts, answers)
        with self.clock.timed("updating"):
            credit = self.rule.credit(batch)
            for index in torch.arange(len(answers)).tensor_split(sizes["updates"]):
                own = index.tolist()
                part = Rows(batch.rows(index), credit.rows(index), [prompts[i] for i in own], [answers[i] for i in own])
                update(self.models, self.rule, TrainSettings(microbatch_tokens=sizes["microbatch_tokens"]), part)
        return sum(map(len, answers))


def tiny_base(sizes: Sizes) -> dict[str, Any]:
    """The same step with the shipped gsm8k base, float32, on one thread of a CPU and on the device."""
    torch.set_num_threads(1)
    of = sizes | {"prompts": 16 if sizes["device"] == "cuda" else 4, "completions": 8, "limit": TASK.limit, "microbatch_tokens": 0}
    devices = dict.fromkeys(("cpu", sizes["device"]))
    return {device: Steps(Policy.load(BASES / "gsm8k", device), of | {"device": device}).measured() for device in devices}


def logp_memory(sizes: Sizes) -> dict[str, Any]:
    """Memory of log-probabilities over the vocabulary: `benchmarks/memory.py`, the head alone and, on a GPU, with a model in front."""
    on_gpu = sizes["device"] == "cuda"
    setup = memory.FULL | {
        "device": sizes["device"],
        "tokens": sizes["memory_tokens"],
        "dtype": "bfloat16",
        "share": 0.8 if on_gpu else 0.5,
    }
    if not on_gpu:
        setup |= {"vocabulary": 3000, "hidden": 128, "dtype": "float32"}
    found = {"head": memory.table(setup)}
    return found | ({"model": attempt(lambda: memory.table(setup | {"model": True}))} if on_gpu else {})


def trl(sizes: Sizes) -> dict[str, Any]:
    """TRL's GRPO trainer on the same model, prompts, lengths and numbers of updates."""
    setup = {name: sizes[name] for name in ("device", "shape", "prompts", "completions", "limit", "updates", "steps", "microbatch_tokens")}
    setup["texts"] = [problem.prompt for problem in islice(TASK.problems("train", 0), 256)]
    with tempfile.TemporaryDirectory() as folder:
        tiny.tokenizer(TASK.vocabulary()).save_pretrained(folder)
        command = [sizes["trl_python"] or sys.executable, str(HERE / "peers" / "trl_gpu.py"), json.dumps(setup | {"tokenizer": folder})]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"absent": (done.stderr.strip().splitlines() or ["no word of why"])[-1][:500]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
