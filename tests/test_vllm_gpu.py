"""Sampling with vLLM on a GPU: `python -m pytest -m gpu tests/test_vllm_gpu.py`, in a process of its own, where vLLM is built for CUDA."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from language_models import policy as made

from bench.policy import Policy
from bench.samplers.vllm import VLLM

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]
SHAPE = {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}


@pytest.mark.parametrize("sleep", [0, 1, 2])
@torch.no_grad()
def test_weights_arrive_whether_or_not_the_engine_sleeps(sleep: int) -> None:
    """In a bfloat16 engine, so the gap is one of rounding; without the push it is more than ten times that."""
    plain = made(**SHAPE)
    subject = Policy.of(plain.model.to("cuda"), plain.tokenizer)
    prompts = [subject.encode(text) for text in ("1+2=", "12;" * 30)]
    session = VLLM(sleep=sleep, memory=0.1, max_length=512, graphs=False, dtype="bfloat16").open(subject)
    held = torch.cuda.mem_get_info()[0]

    def gap() -> float:
        groups = session.sample(prompts, 16, 24, "gpu")
        rows = [(prompt, c) for prompt, group in zip(prompts, groups, strict=True) for c in group]
        own = subject.forward([prompt for prompt, _ in rows], [c.tokens for _, c in rows]).logp.tolist()
        apart = [abs(a - b) for (_, c), row in zip(rows, own, strict=True) for a, b in zip(c.logp, row[: len(c.logp)], strict=True)]
        return sum(apart) / len(apart)

    try:
        assert gap() < 0.05
        if sleep:
            assert torch.cuda.mem_get_info()[0] > held  # memory was given back
        for tensor in subject.tensors().values():
            tensor.add_(0.03 * torch.randn_like(tensor))
        if sleep < 2:  # at 2 the weights were forgotten, and come anew
            assert gap() > 0.5
        session.refresh()
        assert gap() < 0.05
    finally:
        session.close()
