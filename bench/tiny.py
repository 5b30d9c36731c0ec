"""What the tiny tier's models are built of: a Qwen3 of a third of a million parameters and a tokenizer of a task's own few words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SPECIAL = ("<pad>", "<eos>", "<unk>")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of a tiny model. The head dimension stays 32: vLLM's CPU kernels have none smaller."""

    hidden: int = 96
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 256


def tokenizer(vocabulary: Iterable[str]) -> Any:
    """A word-level tokenizer that splits text into the vocabulary's entries, longest first, and joins them back without loss."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = list(dict.fromkeys(vocabulary))
    longest_first = sorted(words, key=len, reverse=True)
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *words])}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(map(re.escape, longest_first))), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def model(size: int, shape: Shape, seed: int) -> Any:
    """A Qwen3 causal language model of `size` words with weights drawn from `seed`; torch's global generator is left as it was."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=size,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=32,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=SPECIAL.index("<pad>"),
        bos_token_id=None,
        eos_token_id=SPECIAL.index("<eos>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)
