"""Makes a task's base model from nothing: supervised training on mixed, imperfect demonstrators.

Clean demonstrations, stopped early, make a poor start: what is missing must be learnt from one bit a sample. Demonstrators that mostly
blurt and sometimes work the answer out leave the skill in the model and the habit open, which is what reinforcement learning can change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from bench import tiny
from tasks.base import TextTask, generator


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """Length and size of a pretraining; everything else follows from the task and the seed."""

    steps: int = 2000
    rows: int = 16  # demonstrations per step
    lr: float = 3e-3
    warmup: int = 50
    prompt_share: float = 0.1  # weight of the prompt's tokens in the loss
    hidden: int = 96
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 256

    def __post_init__(self) -> None:
        """Raises ValueError for a number that no training could have."""
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name in ("warmup", "prompt_share") else 1e-9
            if value < least:
                raise ValueError(f"{field.name} is {value}; it must be {'0 or more' if not least else 'greater than 0'}")

    @property
    def shape(self) -> tiny.Shape:
        return tiny.Shape(hidden=self.hidden, layers=self.layers, heads=self.heads, kv_heads=self.kv_heads, feed_forward=self.feed_forward)


def pretrain(task: TextTask, name: str, settings: PretrainSettings, seed: int, folder: Path) -> Iterator[tuple[int, float]]:
    """Yields (step, loss in nats per completion token) while it trains; the finished model and tokenizer are in `folder` at the end.

    Raises ValueError where the task has no demonstrators or vocabulary.
    """
    words = tiny.tokenizer(task.vocabulary())
    network = tiny.model(len(words), settings.shape, seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    rows = _rows(task, name, words, seed)
    for step in range(1, settings.steps + 1):
        loss, completion_loss = _loss(network, list(islice(rows, settings.rows)), settings.prompt_share)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield step, completion_loss
    network.save_pretrained(folder)
    words.save_pretrained(folder)


def _rate(step: int, settings: PretrainSettings) -> float:
    """Linear warm-up, then a cosine to zero over the fixed number of steps."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - settings.warmup) / max(1, settings.steps - settings.warmup)))


def _rows(task: TextTask, name: str, words: Any, seed: int) -> Iterator[tuple[list[int], list[int]]]:
    """Endless (prompt, completion) token ids, the end token included."""
    random = generator("demonstrations", name, seed)
    for problem in task.problems("train", seed):
        prompt, answer = words(problem.prompt).input_ids, words(task.demonstration(problem, random)).input_ids
        yield prompt, [*answer, words.eos_token_id]


def _loss(network: Any, rows: list[tuple[list[int], list[int]]], prompt_share: float) -> tuple[torch.Tensor, float]:
    """Mean cross-entropy over completion tokens plus a share of the prompts'; and the former alone, as a number."""
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    weight = torch.zeros(len(rows), width)
    for i, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        tokens[i, :end] = torch.tensor(prompt + answer)
        weight[i, : len(prompt)] = prompt_share
        weight[i, len(prompt) : end] = 1.0
    logits = network(tokens[:, :-1], use_cache=False).logits
    each = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view_as(tokens[:, 1:])
    weight = weight[:, 1:]
    answers = weight == 1.0
    return (each * weight).sum() / answers.sum(), float(each.detach()[answers].mean())
