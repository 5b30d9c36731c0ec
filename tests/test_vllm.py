"""Sampling with vLLM itself, on a processor: run by `make vllm`, in a process of its own, for an engine changes what is the process's."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from language_models import policy as made
from torch import Tensor

from bench import checks, lora
from bench.errors import ConfigError
from bench.model_settings import PLAIN, ModelSettings
from bench.policy import Policy
from bench.resolve import Request, resolve
from bench.run import execute
from bench.samplers import vllm_engine
from bench.samplers.base import Completion
from bench.samplers.vllm import VLLM
from bench.store import RunStore

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed: `make vllm` has an environment with it"),
]
HEADS = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}  # of size 32, the least that vLLM has
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("qwen3", HEADS | {"head_dim": 32}),
    ("qwen3", HEADS | {"head_dim": 32, "tie_word_embeddings": False}),
    ("qwen2", HEADS | {"tie_word_embeddings": True}),
    ("qwen2", HEADS | {"tie_word_embeddings": False}),
    ("llama", HEADS | {"tie_word_embeddings": True}),
    ("llama", HEADS | {"tie_word_embeddings": False}),
]
TEXTS = ("1+2=", "7", "(3+4)*5-6=", "12;" * 30)  # the last is longer than a block of the prefix cache
CLOSE, FAR = 1e-4, 0.5


def largest(subject: Policy, prompts: Sequence[Sequence[int]], sampled: list[list[Completion]]) -> float:
    """Largest difference between the sampler's and the trainer's log-probability of a token."""
    rows = [(prompt, c) for prompt, group in zip(prompts, sampled, strict=True) for c in group]
    with torch.no_grad():
        own = subject.forward([prompt for prompt, _ in rows], [c.tokens for _, c in rows]).logp.tolist()
    return max(abs(a - b) for (_, c), row in zip(rows, own, strict=True) for a, b in zip(c.logp, row[: len(c.logp)], strict=True))


@torch.no_grad()
def move(subject: Policy, start: dict[str, Tensor], seed: int = 0, by: float = 0.1) -> None:
    """Set the weights to those of the start and as much again at random."""
    chance = torch.Generator().manual_seed(seed)
    for name, tensor in subject.tensors().items():
        tensor.copy_(start[name] + by * torch.randn(tensor.shape, generator=chance))


class At:
    """A policy, the weights it began with, and a session on it."""

    def __init__(self, family: str, changes: dict[str, Any], settings: ModelSettings = PLAIN) -> None:
        torch.manual_seed(0)
        self.policy = made(family, **changes)
        if settings.lora_rank:
            self.policy = Policy.of(lora.adapt(self.policy.model, settings), self.policy.tokenizer, settings)
        self.start = {name: tensor.clone() for name, tensor in self.policy.tensors().items()}
        self.prompts = [self.policy.encode(text) for text in TEXTS]
        self.session = VLLM().open(self.policy)

    def gap(self, n: int = 8, limit: int = 24) -> float:
        return largest(self.policy, self.prompts, self.session.sample(self.prompts, n, limit, "gap"))


@pytest.fixture(scope="module")
def shared() -> Iterator[At]:
    """A tied Qwen3, whose engine many tests use."""
    at = At(*FAMILIES[0])
    yield at
    at.session.close()


@pytest.fixture
def at(shared: At) -> At:
    """The same with the weights it began with."""
    shared.policy.restore(shared.start)
    shared.policy.end = 1
    shared.session.refresh()
    return shared


@pytest.mark.parametrize(("title", "contract"), [pytest.param(*pair, id=pair[0]) for pair in checks.contracts("samplers")])
def test_vllm_keeps(title: str, contract: Callable[[Any], None]) -> None:
    contract(VLLM())


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_log_probabilities_are_the_trainers_also_after_an_update(family: str, changes: dict[str, Any]) -> None:
    at = At(family, changes)
    try:
        fresh = at.gap()
        move(at.policy, at.start)
        at.session.refresh()
        moved = at.gap()
    finally:
        at.session.close()
    print(f"{family}, tied {at.policy.model.config.tie_word_embeddings}: {fresh:.1e}, moved {moved:.1e}")
    assert fresh < CLOSE and moved < CLOSE


def test_what_adapters_add_arrives_in_the_weights() -> None:
    at = At(*FAMILIES[2], settings=ModelSettings(lora_rank=4))
    try:
        fresh = at.gap()
        move(at.policy, at.start)
        assert at.gap() > FAR
        at.session.refresh()
        assert fresh < CLOSE and at.gap() < CLOSE
    finally:
        at.session.close()


def test_a_hundred_updates_drift_nowhere_and_hold_no_memory(at: At) -> None:
    """Each with other weights. The resident memory is read after twenty, when caches are full, and after all."""
    gaps, held, took = [], [], []
    for seed in range(100):
        move(at.policy, at.start, seed, 0.02 * (1 + seed % 5))
        began = time.perf_counter()
        at.session.refresh()
        took.append(1000 * (time.perf_counter() - began))
        gaps.append(at.gap(2, 8))
        held.append(_resident())
    print(f"gap over 100 updates: {max(gaps):.1e}; resident memory from {held[20]:.0f} to {held[-1]:.0f} MiB; a push {median(took):.0f} ms")
    assert max(gaps) < CLOSE
    assert held[-1] - held[20] < 10


def _resident() -> float:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def test_without_a_refresh_the_gap_is_large(at: At) -> None:
    move(at.policy, at.start)
    assert at.gap() > FAR
    at.session.refresh()
    assert at.gap() < CLOSE


def test_without_the_tied_head_in_the_stream_the_gap_is_large(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `named_parameters` gives: vLLM takes it without a word, and its packed copy of the head stays as it was."""
    move(at.policy, at.start)
    with monkeypatch.context() as broken:
        broken.setattr(at.policy, "exported", at.policy.model.named_parameters)
        at.session.refresh()
        assert at.gap() > FAR
    at.session.refresh()
    assert at.gap() < CLOSE


def test_without_an_empty_prefix_cache_the_gap_is_large(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values of the older weights would be read with the newer ones."""
    at.gap()
    move(at.policy, at.start)
    at.session.refresh()
    with monkeypatch.context() as broken:
        broken.setattr(at.session.engine, "reset_prefix_cache", lambda: True)
        assert at.gap() > FAR
    assert at.gap() < CLOSE


def test_a_prompt_is_read_once_for_all_of_its_completions() -> None:
    """The engine says how many tokens of a prompt it did not have to read; without the cache, none."""
    found = {}
    for caching in (True, False):
        at = At(*FAMILIES[0])
        at.session.close()
        session = VLLM(prefix_caching=caching, rows=1).open(at.policy)
        engine, seen = session.engine, []
        given, plain = engine.generate, at.prompts[3:]

        def generate(*args: Any, given: Any = given, seen: list[Any] = seen, **more: Any) -> Any:
            seen.extend(out := given(*args, **more))
            return out

        engine.generate = generate
        session.sample(plain, 3, 4, "a")
        session.close()
        found[caching] = [request.num_cached_tokens for request in seen]
    assert found == {True: [0, 64, 64], False: [0, 0, 0]}


def test_the_seed_decides_alone(at: At) -> None:
    whole = at.session.sample(at.prompts, 6, 12, "a")
    at.session.sample(at.prompts[:2], 3, 5, "b")
    assert at.session.sample(at.prompts, 6, 12, "a") == whole
    other = at.session.sample(at.prompts, 6, 12, "b")
    assert tokens(other) != tokens(whole)
    assert len({c.tokens for c in whole[0]}) > 1
    more = at.session.sample(at.prompts[:2], 9, 12, "a")  # neither other prompts nor other completions play a part
    assert tokens([group[:6] for group in more]) == tokens(whole[:2])


def tokens(sampled: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[c.tokens for c in group] for group in sampled]


def test_a_share_is_what_the_whole_would_have_been(at: At) -> None:
    whole = at.session.sample(at.prompts, 5, 12, "a")
    assert tokens(at.session.share(at.prompts, 5, 12, "a", 0, 1) + at.session.share(at.prompts, 5, 12, "a", 1, 3)) == tokens(whole)
    assert at.session.share(at.prompts, 5, 12, "a", 4, 0) == at.session.sample([], 5, 12, "a") == []


def test_the_distribution_is_the_policys(at: At) -> None:
    """Squared deviations over 4000 draws, weighted by 1 / (n p), are chi-square of 21 degrees for 22 tokens: above 47 once in 1000."""
    n, prompt = 4000, at.prompts[0]
    drawn = [c.tokens[0] for c in at.session.sample([prompt], n, 1, "a")[0]]
    with torch.no_grad():
        share = at.policy.model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1).double()
    count = torch.bincount(torch.tensor(drawn), minlength=len(share))
    assert float(((count - n * share).square() / (n * share)).sum()) < 47


def test_greedy_takes_the_likeliest_token(at: At) -> None:
    done = at.session.greedy(at.prompts, 6)
    for prompt, completion in zip(at.prompts, done, strict=True):
        with torch.no_grad():
            logits = at.policy.model(input_ids=torch.tensor([[*prompt, *completion.tokens]])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == list(completion.tokens)
    assert largest(at.policy, at.prompts, [[c] for c in done]) < CLOSE


@pytest.mark.parametrize("end", [5, 1, -1])
def test_only_the_policy_says_what_ends_a_completion(at: At, end: int) -> None:
    """The configuration says 1."""
    at.policy.end = end
    done = [c for group in at.session.sample(at.prompts, 50, 12, "a") for c in group]
    assert {c.truncated for c in done} == ({True, False} if end >= 0 else {True})
    assert any(1 in c.tokens for c in done)
    for c in done:
        assert c.truncated == (c.tokens[-1] != end) and end not in c.tokens[:-1]
        assert len(c.tokens) == 12 if c.truncated else len(c.tokens) <= 12
        assert c.text == at.policy.decode(c.tokens)


def test_what_does_not_fit_is_refused(at: At) -> None:
    long = [at.prompts[3] * 100]
    with pytest.raises(ConfigError, match=r"a prompt of 9000 tokens and 24000 more are 33000, but this engine holds \d+"):
        at.session.sample(long, 1, 24_000, "a")
    session = VLLM(max_length=12).open(at.policy)
    try:
        assert session.longest == 12
        assert session.sample(at.prompts[:1], 1, 8, "a")
        with pytest.raises(ConfigError, match=r"a prompt of 4 tokens and 9 more are 13, but this engine holds 12: lower train\.limit"):
            session.sample(at.prompts[:1], 1, 9, "a")
    finally:
        session.close()


def test_an_engine_that_cannot_start_says_why(at: At) -> None:
    with pytest.raises(ConfigError, match=r"vllm cannot serve this model here \(.*max.*\); change the settings of the vllm sampler"):
        VLLM(max_length=10_000_000).open(at.policy)
    assert at.gap() < CLOSE


def test_heads_without_a_kernel_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"the model's attention heads have size 16, and on a processor vllm .* for 32, 64"):
        VLLM().open(made())


def test_bfloat16_is_near(at: At) -> None:
    session = VLLM(dtype="bfloat16").open(at.policy)
    found = largest(at.policy, at.prompts, session.sample(at.prompts, 8, 24, "a"))
    session.close()
    print(f"bfloat16: {found:.1e}")
    assert CLOSE < found < FAR


def test_sessions_live_beside_and_after_each_other(at: At) -> None:
    whole = at.session.sample(at.prompts, 4, 8, "a")
    second = VLLM().open(at.policy)
    assert second.sample(at.prompts, 4, 8, "a") == whole
    second.close()
    second.close()
    assert at.session.sample(at.prompts, 4, 8, "a") == whole
    third = VLLM().open(at.policy)
    assert third.sample(at.prompts, 4, 8, "a") == whole
    third.close()


def test_the_process_is_left_as_it_was(at: At) -> None:
    """Seeds, threads and the environment, by which every later process would be started; but for vLLM's own variables."""

    def state() -> list[Any]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
        return [own, random.getstate(), torch.get_rng_state().tolist(), torch.get_num_threads(), torch.set_num_threads]

    before = state()
    session = VLLM().open(at.policy)
    session.sample(at.prompts, 2, 4, "a")
    session.close()
    assert state() == before


def test_nothing_is_compiled(at: At) -> None:
    """vLLM marks a function that counts ranks for compilation: 20 s for the first request of a process."""
    from torch._dynamo.utils import counters

    counters.clear()
    at.gap()
    assert not counters["stats"] and not counters["frames"]


WORLD = """
import os, sys, tempfile
import torch, torch.distributed as dist
from bench.policy import Policy
from bench.resolve import BASES
from bench.samplers import vllm_engine
from bench.samplers.vllm import VLLM

def main(rank, world, folder, careless):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    if careless:
        vllm_engine._keep_groups = lambda: None
    policy = Policy.load(BASES / "last_digit")
    prompts = [policy.encode(f"{i}+{i}=") for i in range(6)]
    first, second = VLLM().open(policy), VLLM().open(policy)
    whole, half = first.sample(prompts, 4, 8, "a"), 6 // world
    assert first.share(prompts, 4, 8, "a", half * rank, half) == whole[half * rank : half * (rank + 1)]
    if rank == 0:  # engines of different processes do not wait for each other
        first.sample(prompts, 4, 8, "b")
    first.close()
    try:
        other = second.sample(prompts, 4, 8, "a") == whole
        second.close()
    except AssertionError:  # vLLM's own, of a group that is gone
        other = False
    print("second engine", other, "group", dist.is_initialized(), flush=True)
    if dist.is_initialized():
        total = torch.ones(1) * (rank + 1)
        dist.all_reduce(total)
        assert total.item() == world * (world + 1) / 2
        dist.destroy_process_group()

if __name__ == "__main__":
    world, careless = int(sys.argv[1]), sys.argv[2] == "careless"
    torch.multiprocessing.spawn(main, (world, tempfile.mkdtemp(), careless), world)
"""


@pytest.mark.parametrize(("world", "careless"), [(2, False), (1, True)])
def test_the_trainers_processes_keep_their_group(tmp_path: Path, world: int, careless: bool) -> None:
    """Each has engines of its own. Left to itself, vLLM ends the other engines' groups and the trainer's when one engine ends."""
    script = tmp_path / "world.py"
    script.write_text(WORLD)
    command = [sys.executable, str(script), str(world), "careless" if careless else "careful"]
    surroundings = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[:-1] == [f"second engine {not careless} group {not careless}"] * world


def test_a_run_trains_on_what_vllm_sampled(tmp_path: Path) -> None:
    """GRPO, a few steps: the sampler's log-probabilities stay the trainer's, so the weights arrive after each update."""
    small = (
        "train.prompts=8",
        "train.completions=4",
        "train.eval_problems=8",
        "train.eval_completions=2",
        "train.lr=1e-3",
        "train.warmup=0",
        "train.tis_cap=2",
    )
    before = len(vllm_engine._living)
    asked = Request(algorithm="grpo", task="last_digit", tier="tiny", sampler="vllm", budget=96, settings=small)
    records = execute(resolve(asked), RunStore(tmp_path), lambda record: None).records
    gaps = [record.probes["rollout/logp_gap_max"] for record in records[1:]]
    assert all(abs(record.probes["rollout/tis_mean"] - 1) < CLOSE for record in records[1:])
    print("rollout/logp_gap_max:", [f"{gap:.1e}" for gap in gaps])
    assert len(gaps) == 3 and max(gaps) < CLOSE
    assert len(vllm_engine._living) == before  # the run's engine is gone
