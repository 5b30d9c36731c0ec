"""What must hold on a CUDA device: `make gpu`. The same checks run on the CPU, unmarked, so that they are themselves tested."""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from typing import Any

import pytest
import torch

from algorithms.base import Forward, PolicyGradient
from algorithms.value import ValueRule
from bench import registry, tiny, token_logp
from bench.checks.batches import batch, forward, loss
from bench.config import TrainSettings
from bench.loops.progress import Progress
from bench.loops.setup import Plan, learner
from bench.loops.training import train
from bench.model_settings import ModelSettings
from bench.policy import Policy
from bench.resolve import BASES
from bench.samplers import hf
from bench.samplers.hf import HF
from bench.static_decoding import StaticDecoder
from bench.verifying import Verifier

GPU = pytest.param("cuda", marks=pytest.mark.gpu)
on_both = pytest.mark.parametrize("device", ["cpu", GPU])
TASK = registry.load("tasks", "last_digit")()
ON_TEXT = [n for n in registry.names("algorithms") if not issubclass(registry.load("algorithms", n), ValueRule)]
POLICY_GRADIENTS = [n for n in registry.names("algorithms") if issubclass(registry.load("algorithms", n), PolicyGradient)]


def prompts(policy: Policy) -> list[list[int]]:
    """Ragged ones."""
    return [policy.encode(p.prompt[i % 3 :]) for i, p in enumerate(islice(TASK.problems("train", 0), 6))]


def gap(policy: Policy, asked: list[list[int]], groups: Any) -> list[float]:
    """Differences between the sampler's and the trainer's log-probabilities."""
    rows = [(prompt, c) for prompt, group in zip(asked, groups, strict=True) for c in group]
    with torch.no_grad():
        own = policy.forward([prompt for prompt, _ in rows], [c.tokens for _, c in rows]).logp.cpu()
    return [abs(a - b) for (_, c), row in zip(rows, own.tolist(), strict=True) for a, b in zip(c.logp, row, strict=False)]


@on_both
@pytest.mark.parametrize(("dtype", "mean", "most"), [("float32", 1e-5, 1e-4), ("mixed", 0.03, 0.5)])
@pytest.mark.parametrize("decode", ["static", "cached"])
def test_sampler_and_trainer_agree(device: str, dtype: Any, mean: float, most: float, decode: Any) -> None:
    policy = Policy.load(BASES / "last_digit", device, ModelSettings(dtype=dtype))
    asked = prompts(policy)
    found = gap(policy, asked, HF(decode=decode).open(policy).sample(asked, 8, 4, "gpu"))
    assert sum(found) / len(found) < mean and max(found) < most


def random_model(family: str, device: str) -> Policy:
    """A small model with random weights, whose completions are long."""
    import transformers

    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    shape |= {"intermediate_size": 256, "vocab_size": 60, "eos_token_id": 1, "pad_token_id": 0, "initializer_range": 0.1}
    if family == "GPT2":
        shape = {"n_embd": 128, "n_layer": 3, "n_head": 4, "vocab_size": 60, "eos_token_id": 1, "initializer_range": 0.1}
    model = getattr(transformers, f"{family}LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM")
    made: Any = model(getattr(transformers, f"{family}Config")(**shape))
    return Policy.of(made.to(device), tiny.tokenizer(map(str, range(57))))


def texts(policy: Policy, decode: Any, capture: bool | None = None) -> list[Any]:
    """Tokens of ragged prompts' completions; the second batch uses what the first set up, with weights that have moved."""
    session, asked = HF(decode=decode).open(policy), [[5] * 3, [7, 8], [9] * 11, [4]]
    limit = 300 if policy.device.type == "cuda" else 30  # beyond what the first graphs look at
    if decode == "static":
        session.static = StaticDecoder(policy, capture)
    found = []
    before = {name: tensor.clone() for name, tensor in policy.tensors().items()}
    for seed in ("a", "b"):
        found.append([[c.tokens for c in group] for group in session.sample(asked, 16, limit, seed)])
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.mul_(1.02)
    policy.restore(before)
    if session.static is not None and session.static.capture:
        assert len(session.static.graphs) > 3
    return found


@on_both
@pytest.mark.parametrize("family", ["Qwen2", "Qwen3", "Llama", "GPT2"])
def test_fixed_and_growing_cache_sample_the_same_recorded_or_not(family: str, device: str) -> None:
    policy = random_model(family, device)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*without CUDA graphs")  # a step that could not be recorded is told by a warning
        first = texts(policy, "static")
    assert len({len(row) for batch in first for group in batch for row in group}) > 10
    assert first == texts(policy, "static", capture=False)
    pairs = [
        pair for a, b in zip(first, texts(policy, "cached"), strict=True) for ab in zip(a, b, strict=True) for pair in zip(*ab, strict=True)
    ]
    assert sum(a != b for a, b in pairs) <= 0.03 * len(pairs)  # other kernels: now and then a number falls between two roundings


@on_both
def test_in_mixed_precision_what_is_recorded_is_what_is_computed(device: str) -> None:
    policy = replace(random_model("Qwen2", device), settings=ModelSettings(dtype="mixed"))
    assert texts(policy, "static") == texts(policy, "static", capture=False)


@on_both
def test_a_gpu_gets_the_fixed_cache(device: str) -> None:
    assert (hf.chosen(random_model("Llama", device), "auto") is StaticDecoder) == (device == "cuda")


@on_both
def test_the_forward_is_that_of_the_cpu(device: str) -> None:
    here, there = (Policy.load(BASES / "gsm8k", d) for d in ("cpu", device))
    problems = list(islice(registry.load("tasks", "gsm8k")().problems("train", 0), 6))
    asked, answers = [here.encode(p.prompt) for p in problems], [[*here.encode(p.answer), here.end] for p in problems]
    with torch.no_grad():
        a, b = here.forward(asked, answers), there.forward(asked, answers)
    torch.testing.assert_close(a.logp, b.logp.cpu(), atol=1e-4, rtol=0)
    assert a.entropy is not None and b.entropy is not None
    torch.testing.assert_close(a.entropy, b.entropy.cpu(), atol=1e-4, rtol=0)


@on_both
@pytest.mark.parametrize("dtype", ["mixed", "bfloat16"])
def test_bfloat16_is_close_to_float32(dtype: Any, device: str) -> None:
    """What eight bits of mantissa leave: a few hundredths of a nat a token, and no more in the mean."""
    exact = Policy.load(BASES / "gsm8k", device)
    rough = Policy.load(BASES / "gsm8k", device, ModelSettings(dtype="mixed"))
    if dtype == "bfloat16":
        rough = replace(exact, model=rough.model.bfloat16())
    problems = list(islice(registry.load("tasks", "gsm8k")().problems("train", 0), 16))
    asked, answers = [exact.encode(p.prompt) for p in problems], [[*exact.encode(p.answer), exact.end] for p in problems]
    with torch.no_grad():
        a, b = exact.forward(asked, answers), rough.forward(asked, answers)
    assert b.logp.dtype == torch.float32
    off = (a.logp - b.logp).abs()[
        torch.arange(a.logp.shape[1], device=a.logp.device) < torch.tensor([[len(x)] for x in answers]).to(device)
    ]
    assert 0 < float(off.mean()) < 0.05 and float(off.max()) < 1


@on_both
@pytest.mark.parametrize("entropy_gradient", [False, True])
def test_log_probabilities_by_chunks_are_those_of_the_whole_table(
    device: str, entropy_gradient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Generator().manual_seed(0)
    states, weight = torch.randn(50, 32, generator=draw), torch.randn(400, 32, generator=draw) / 4
    chosen = torch.randint(400, (50,), generator=draw)
    found = []
    for where, dtype, chunk in (("cpu", torch.float64, 1 << 25), (device, torch.float32, 7 * 400)):
        monkeypatch.setattr(token_logp, "CHUNK", chunk)
        x, w = (part.to(where, dtype).requires_grad_() for part in (states, weight))
        logp, entropy = token_logp.token_logp(x, w, None, chosen.to(where), entropy_gradient=entropy_gradient)
        (logp.sum() + (entropy.square().sum() if entropy_gradient else 0)).backward()
        assert x.grad is not None and w.grad is not None
        found.append([part.detach().double().cpu() for part in (logp, entropy, x.grad, w.grad)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)


def trained(policy: Policy, settings: TrainSettings, steps: int = 2) -> list[Any]:
    """Records of GRPO; finite throughout."""
    held_out = list(islice(TASK.problems("heldout", 0), 4))
    with Verifier(TASK) as verifier:
        learns = learner(registry.load("algorithms", "grpo")(), policy, settings, HF(), verifier)
        records = list(islice(train(learns, Plan(TASK, held_out, settings, 0, 64, 10**9), Progress()), steps + 1))
    assert all(torch.isfinite(torch.tensor(list(r.probes.values()))).all() for r in records)
    return records


QUICK = TrainSettings(prompts=8, completions=4, eval_problems=4, eval_completions=2)
WAYS = [
    {"dtype": "mixed"},
    {"dtype": "mixed", "gradient_checkpointing": True},
    {"dtype": "mixed", "lora_rank": 4},
    {"dtype": "bfloat16", "lora_rank": 4},
]


@on_both
@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_training_in_bfloat16(way: dict[str, Any], device: str) -> None:
    if "lora_rank" in way:
        pytest.importorskip("peft")
    policy = Policy.load(BASES / "last_digit", device, ModelSettings(**way))
    frozen = {name: p.clone() for name, p in policy.model.named_parameters() if name not in policy.tensors()}
    before = policy.digest()
    records = trained(policy, replace(QUICK, microbatch_tokens=60, tis_cap=2.0))
    assert policy.digest() != before and bool(frozen) == ("lora_rank" in way)
    assert all(torch.equal(p, frozen[name]) for name, p in policy.model.named_parameters() if name in frozen)
    assert all(abs(r.probes["rollout/tis_mean"] - 1) < 0.2 for r in records[1:])


@on_both
def test_an_optimizer_of_8_bits_steps(device: str) -> None:
    if find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    policy = Policy.load(BASES / "last_digit", device)
    before = policy.digest()
    trained(policy, replace(QUICK, optimizer="adamw_8bit"))
    assert policy.digest() != before


@on_both
@pytest.mark.parametrize("name", ON_TEXT)
def test_every_rule_trains(name: str, device: str) -> None:
    """Probes are finite, the sampler's log-probabilities are the trainer's, and the weights move on their device."""
    policy = Policy.load(BASES / "last_digit", device)
    rule = registry.load("algorithms", name)()
    settings = TrainSettings(prompts=8, completions=4, eval_problems=4, eval_completions=2)
    held_out = list(islice(TASK.problems("heldout", 0), 4))
    with Verifier(TASK) as verifier:
        learns = learner(rule, policy, replace(settings, measure_kl=True), HF(), verifier)
        plan = Plan(TASK, held_out, settings, 0, 64, 10**9)
        before = policy.digest()
        records = list(islice(train(learns, plan, Progress()), 5))
    assert (policy.digest() != before) == (name != "untrained")
    assert all(torch.isfinite(torch.tensor(list(r.probes.values()))).all() for r in records)
    assert all(r.probes["rollout/logp_gap_max"] < 1e-4 for r in records if "rollout/logp_gap_max" in r.probes)
    assert {p.device.type for p in policy.parameters()} == {device}


@on_both
@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_losses_and_gradients_are_those_of_the_cpu(name: str, device: str) -> None:
    rule = registry.load("algorithms", name)()
    of = batch("gpu")
    now = forward(of, "gpu now")
    found = []
    for where in ("cpu", device):
        moved = of.to(torch.device(where))
        logp = now.logp.detach().to(where).requires_grad_()
        value = loss(rule, Forward(logp, value=None if now.value is None else now.value.detach().to(where)), moved, rule.credit(moved))
        value.backward()
        assert logp.grad is not None
        found.append((value.detach().cpu(), logp.grad.cpu()))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
