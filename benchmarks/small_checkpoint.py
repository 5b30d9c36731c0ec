"""A small checkpoint as real ones are: a Qwen3 with random weights, a byte-level tokenizer with a chat template, in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.policy import Policy
from tasks.base import Problem

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


def checkpoint(folder: Path, problems: Sequence[Problem], steps: int = 50, **changes: Any) -> Path:
    """The folder, with a model in it that was shown these problems' answers for some steps, so that it is sometimes right about them and
    there is something to reinforce. `changes` are the configuration's."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    made = byte_tokenizer([f"{problem.prompt}{_answer(problem)}" for problem in problems])
    size = {"vocab_size": len(made), "pad_token_id": made.pad_token_id, "eos_token_id": made.eos_token_id, "bos_token_id": None}
    config = Qwen3Config(**(SHAPE | size | {"tie_word_embeddings": True} | changes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy.of(Qwen3ForCausalLM(config), made)
    _show(policy, problems, steps)
    policy.save(folder)
    return folder


def _show(policy: Policy, problems: Sequence[Problem], steps: int) -> None:
    """Supervised steps on eight problems each, in turn."""
    optimizer = torch.optim.AdamW(policy.parameters(), 3e-3)
    prompts = [policy.encode(problem.prompt) for problem in problems]
    answers = [[*policy.plain(_answer(problem)), policy.end] for problem in problems]
    for step in range(steps):
        rows = [(8 * step + i) % len(problems) for i in range(8)]
        optimizer.zero_grad()
        shown = [answers[i] for i in rows]
        (-policy.forward([prompts[i] for i in rows], shown).logp.sum() / sum(map(len, shown))).backward()
        optimizer.step()


def _answer(problem: Problem) -> str:
    return f"#### {problem.facts['gold']}"
