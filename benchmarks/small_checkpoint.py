"""A small checkpoint as real ones are: a Qwen3 with random weights, a byte-level tokenizer with a chat template, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.policy import Policy

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,  # the least that vLLM has kernels for on a CPU
    "intermediate_size": 128,
}
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_tokenizer(texts: Sequence[str], size: int = 600) -> Any:
    """A byte-level BPE with a chat template, as real checkpoints have: any text goes in and comes out unchanged."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<|pad|>", eos_token="<|end|>", clean_up_tokenization_spaces=False)
    made.chat_template = CHAT
    return made


def checkpoint(folder: Path, texts: Sequence[str], **changes: Any) -> Path:
    """The folder, with the model in it; `changes` are the configuration's."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    made = byte_tokenizer(texts)
    size = {"vocab_size": len(made), "pad_token_id": made.pad_token_id, "eos_token_id": made.eos_token_id, "bos_token_id": None}
    config = Qwen3Config(**(SHAPE | size | {"tie_word_embeddings": True, "initializer_range": 0.1} | changes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Policy.of(Qwen3ForCausalLM(config), made).save(folder)
    return folder
