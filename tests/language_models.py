"""Small language models with random weights, for tests of what runs them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from bench import tiny
from bench.policy import Policy

WORDS = "0123456789+-*/=(); "
SIZE = len(WORDS) + len(tiny.SPECIAL)
COMMON: dict[str, Any] = {"vocab_size": SIZE, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1, "initializer_range": 0.1}
SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 80,
}


def model(family: str, **changes: Any) -> Any:
    """A model whose norms and biases are as random as the rest, so that a test sees each of them."""
    if family == "gpt2":
        made: Any = GPT2LMHeadModel(GPT2Config(**COMMON, n_embd=32, n_layer=2, n_head=2, n_positions=128, **changes))
    elif family == "llama":
        made = LlamaForCausalLM(LlamaConfig(**COMMON, **(SHAPE | changes)))
    elif family == "qwen2":
        made = Qwen2ForCausalLM(Qwen2Config(**COMMON, **(SHAPE | changes)))
    else:
        made = Qwen3ForCausalLM(Qwen3Config(**COMMON, **(SHAPE | {"head_dim": 16, "tie_word_embeddings": True} | changes)))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def policy(family: str = "qwen3", **changes: Any) -> Policy:
    return Policy.of(model(family, **changes), tiny.tokenizer(WORDS))
