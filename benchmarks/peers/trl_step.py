"""TRL's side of `benchmarks/text_step.py`: its GRPO trainer on the model, prompts and numbers given there.

Needs trl, transformers, datasets and torch, in whatever environment it is run by; prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class Clock(TrainerCallback):  # type: ignore[misc]
    """Reads both clocks whenever a rollout batch has been used up."""

    def __init__(self, updates: int) -> None:
        self.updates = updates
        self.readings: list[tuple[float, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.global_step % self.updates == 0:
            self.readings.append((time.perf_counter(), time.process_time()))


def reward(completions: list[str], **columns: Any) -> list[float]:
    """1 where the text holds a seven."""
    return [float("7" in text) for text in completions]


def trainer(setup: dict[str, Any], steps: int, folder: str, clock: Clock) -> Any:
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(setup["words"])}, unk_token="<unk>"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    config = GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=setup["prompts"] * setup["completions"] // setup["updates"],
        gradient_accumulation_steps=1,
        steps_per_generation=setup["updates"],
        num_generations=setup["completions"],
        max_completion_length=setup["limit"],
        generation_kwargs={"min_new_tokens": setup["limit"]},
        max_steps=setup["updates"] * steps,
        learning_rate=setup["lr"],
        max_grad_norm=1.0,
        beta=0.0,
        loss_type="grpo",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model=Qwen3ForCausalLM(Qwen3Config(**setup["model"])),
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": text} for text in setup["texts"]]),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", **special),
        callbacks=[clock],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setup", help="JSON, as text_step.py writes it")
    parser.add_argument("--steps", type=int, default=6, help="rollout batches after the first, which is not timed")
    arguments = parser.parse_args()
    setup = json.loads(arguments.setup)
    torch.set_num_threads(1)
    clock = Clock(setup["updates"])
    with tempfile.TemporaryDirectory() as folder:
        trainer(setup, arguments.steps + 1, folder, clock).train()
    pairs = zip(clock.readings, clock.readings[1:], strict=False)
    print(json.dumps([[b - a for a, b in zip(before, after, strict=True)] for before, after in pairs]))


if __name__ == "__main__":
    main()
