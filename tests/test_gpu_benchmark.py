"""The GPU's measurements: their small form runs on a CPU with as few packages as a bare GPU machine has, and what they count is right."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import policy
from torch.utils.flop_counter import FlopCounterMode

from bench import token_logp

ROOT = Path(__file__).parents[1]
MISSING = ("gymnasium", "orjson", "vllm", "trl", "datasets", "bitsandbytes", "math_verify", "reasoning_gym", "minari")
WITHOUT = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {MISSING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def run(folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, what was written and what was said, on a machine without the packages."""
    (folder / "sitecustomize.py").write_text(WITHOUT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OUT": str(folder / "out"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--small", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    return done.returncode, json.loads((folder / "out" / "gpu.json").read_text(encoding="utf-8")), done.stderr


@pytest.mark.slow
def test_the_small_form_runs_with_what_a_bare_gpu_machine_has(tmp_path: Path) -> None:
    status, found, said = run(tmp_path)
    names = ("sampling", "step", "training", "logp_memory", "tiny_base", "trl", "board")
    assert (status, [name for name in names if "error" in found[name]]) == (0, []), said
    assert found["sampling"]["static"]["tokens_per_second"] > 0 < found["sampling"]["cached"]["tokens_per_second"]
    assert "vllm" in found["sampling"]["vllm"]["absent"] and "trl" in found["trl"]["absent"]
    assert set(found["step"]["seconds_by_part"]) == {"sampling", "verifying", "scoring", "updating", "else"}
    assert found["step"]["completion_tokens"] == 4 * 2 * 8
    assert max(found["logp_memory"]["head"]["largest_relative_differences"].values()) < 1e-5
    assert found["board"]["seeds_at_once"] == 2 and found["machine"]["packages"]["torch"]


@pytest.mark.slow
def test_what_fails_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    status, found, _ = run(tmp_path, "--sections", "logp_memory", "--minutes", "0")
    assert status == 1 and "used up" in found["logp_memory"]["error"]
    isolated = runpy.run_path(str(ROOT / "benchmarks" / "gpu.py"))["isolated"]
    assert "stopped after 1 s" in isolated("tiny_base", ["--small"], 1.0)["error"]
    assert "unrecognized arguments" in isolated("trl", ["--small", "--nothing"], 60)["error"]


def test_operations_are_those_that_torch_counts() -> None:
    """Torch counts the whole square of attention, where causal attention needs half; vectors (biases, norms) are no products."""
    subject = policy("qwen2", hidden_size=64, intermediate_size=256, num_hidden_layers=3, tie_word_embeddings=True)
    prompts, answers = [[5] * 7, [6] * 4], [[7] * 30, [8] * 33]
    rows = torch.tensor([[*p, *a][:-1] for p, a in zip(prompts, answers, strict=True)])
    subject.model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as body, torch.no_grad():
        states = subject.model.base_model(input_ids=rows, use_cache=False).last_hidden_state
    with FlopCounterMode(display=False) as head:
        torch.nn.functional.linear(states[0, :30], subject.model.lm_head.weight)
    square = 3 * 2 * 2 * 64 * 2 * rows.shape[1] ** 2  # layers, products, operations, width, rows
    wanted = 3 * (body.get_total_flops() - square / 2 + head.get_total_flops() * 63 / 30)
    count = runpy.run_path(str(ROOT / "benchmarks" / "gpu_parts.py"))["operations"](subject, prompts, answers)
    assert count == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize("entropy_gradient", [False, True])
def test_both_forms_of_the_memory_benchmark_agree(entropy_gradient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_logp, "CHUNK", 7 * 50)
    memory = runpy.run_path(str(ROOT / "benchmarks" / "memory.py"))
    setup = memory["FULL"] | {"vocabulary": 50, "hidden": 16, "entropy_gradient": entropy_gradient}
    found = memory["agree"](setup, tokens=40)
    assert set(found) == {"logp", "entropy", "gradient of states", "gradient of weights"} and max(found.values()) < 1e-5


def test_the_plain_form_is_measured_with_as_many_tokens_as_fit() -> None:
    memory = runpy.run_path(str(ROOT / "benchmarks" / "memory.py"))
    memory["fitting"].__globals__["free"] = lambda device: 40 << 30
    assert memory["fitting"](memory["FULL"] | {"share": 1.0}) == 8192  # 3.5 tables of 4.6 GiB, and what goes with them
    assert memory["fitting"](memory["FULL"] | {"share": 0.5}) == 8192
    assert memory["fitting"](memory["FULL"] | {"share": 0.4}) == 4096
    assert memory["fitting"](memory["FULL"] | {"share": 0.5, "entropy_gradient": True}) == 4096
