"""TRL's side of `benchmarks/gpu.py`: its GRPO trainer on the model, tokenizer, prompts and lengths given there.

bfloat16 arithmetic on float32 weights, as ours. Needs trl and datasets beside torch and transformers; prints one JSON line. A reading is a
rollout batch with all its optimizer steps; the first, which sets up, is left out.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import torch
import transformers
import trl
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer


class Readings(transformers.TrainerCallback):
    """Reads the clock whenever a rollout batch has been used up."""

    def __init__(self, updates: int) -> None:
        self.updates, self.at = updates, list[float]()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.global_step % self.updates == 0:
            if torch.cuda.is_available() and not args.use_cpu:
                torch.cuda.synchronize()
            self.at.append(time.perf_counter())


def reward(completions: list[str], **columns: Any) -> list[float]:
    """Some are paid, some are not."""
    return [float(len(text) % 2) for text in completions]


def trainer(setup: dict[str, Any], folder: str, readings: Readings) -> Any:
    total, on_gpu = setup["prompts"] * setup["completions"], setup["device"] == "cuda"
    # As many rows at a time as our own bound on tokens allows; the rest of an optimizer step is accumulated.
    step_rows = total // setup["updates"]
    longest = setup["limit"] + 128
    at_a_time = max(n for n in range(1, step_rows + 1) if step_rows % n == 0 and (n == 1 or n * longest <= setup["microbatch_tokens"]))
    config = GRPOConfig(
        output_dir=folder,
        use_cpu=not on_gpu,
        bf16=on_gpu,
        per_device_train_batch_size=at_a_time,
        gradient_accumulation_steps=step_rows // at_a_time,
        steps_per_generation=total // at_a_time,
        num_generations=setup["completions"],
        max_completion_length=setup["limit"],
        generation_kwargs={"min_new_tokens": setup["limit"]},
        gradient_checkpointing=False,
        max_steps=setup["updates"] * (setup["steps"] + 1),
        learning_rate=1e-6,
        beta=0.0,
        loss_type="grpo",
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    torch.manual_seed(0)
    shape = transformers.Qwen2Config(**setup["shape"], tie_word_embeddings=True, pad_token_id=0, eos_token_id=1, bos_token_id=None)
    return GRPOTrainer(
        model=transformers.Qwen2ForCausalLM(shape),
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": text} for text in setup["texts"]]),
        processing_class=transformers.AutoTokenizer.from_pretrained(setup["tokenizer"]),
        callbacks=[readings],
    )


def main() -> None:
    setup = json.loads(sys.argv[1])
    readings = Readings(setup["updates"])
    with tempfile.TemporaryDirectory() as folder:
        trainer(setup, folder, readings).train()
    seconds = [b - a for a, b in zip(readings.at, readings.at[1:], strict=False)]
    found = {"version": trl.__version__, "seconds": statistics.mean(seconds), "readings": seconds}
    if setup["device"] == "cuda":
        found["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
