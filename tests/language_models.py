"""Small language models with random weights, for tests of what runs them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
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


MORE: dict[str, dict[str, Any]] = {  # families with heads, norms and layers of other forms
    "gemma2": {"head_dim": 16, "final_logit_softcapping": 2.0, "attn_logit_softcapping": 5.0, "sliding_window": 4},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5, "embedding_multiplier": 2.0},
    "mistral": {"sliding_window": None},
    "qwen3_moe": {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24},
    "phi": {"num_key_value_heads": 4},
    "opt": {"ffn_dim": 80, "word_embed_proj_dim": 48, "max_position_embeddings": 128},
}


def model(family: str, **changes: Any) -> Any:
    """A model whose norms and biases are as random as the rest, so that a test sees each of them."""
    if family == "gpt2":
        made: Any = GPT2LMHeadModel(GPT2Config(**COMMON, n_embd=32, n_layer=2, n_head=2, n_positions=128, **changes))
    elif family == "llama":
        made = LlamaForCausalLM(LlamaConfig(**COMMON, **(SHAPE | changes)))
    elif family == "qwen2":
        made = Qwen2ForCausalLM(Qwen2Config(**COMMON, **(SHAPE | changes)))
    elif family in MORE:
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **COMMON, **(SHAPE | MORE[family] | changes)))
    else:
        made = Qwen3ForCausalLM(Qwen3Config(**(COMMON | SHAPE | {"head_dim": 16, "tie_word_embeddings": True} | changes)))
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def policy(family: str = "qwen3", **changes: Any) -> Policy:
    return Policy.of(model(family, **changes), tiny.tokenizer(WORDS))
