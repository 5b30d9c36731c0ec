"""TRL's own loss methods, called without a model: a trainer that was never initialised, with the attributes that the method reads."""

from __future__ import annotations

import importlib
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from algorithms import ops
from algorithms.base import Batch, Forward
from algorithms.preference import Side


class Machine:
    """One process, which gathers from nobody."""

    num_processes = 1
    sync_gradients = True
    device = torch.device("cpu")

    def gather(self, x: Tensor) -> Tensor:
        return x

    def gather_for_metrics(self, x: Tensor) -> Tensor:
        return x

    def reduce(self, x: Tensor, reduction: str = "sum") -> Tensor:
        return x


def default(name: str) -> Any:
    """What its group-relative trainer takes where nothing is set."""
    return importlib.import_module("trl.trainer.grpo_config").GRPOConfig.__dataclass_fields__[name].default


READ = (  # what its group-relative trainer takes from its arguments
    *("delta", "sapo_temperature_pos", "sapo_temperature_neg", "use_bias_correction_kl"),
    *("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"),
)
GROUP = "trl.trainer.grpo_trainer:GRPOTrainer"


def policy_loss(of: Batch, now: Forward, advantage: Tensor, *, trainer: str = GROUP, **settings: Any) -> Tensor:
    """() the loss of one of its trainers with TRL's names for the settings; those not given are its own defaults.

    `advantage` is (B, T) and the same on every action of a path, which must begin in the first column.
    """
    module, _, name = trainer.partition(":")
    made = _made(getattr(importlib.import_module(module), name))
    for field in ("loss_type", "importance_sampling_level", "beta"):
        setattr(made, field, settings.get(field, default(field)))
    made.epsilon_low = settings.get("epsilon", default("epsilon"))
    made.epsilon_high = settings.get("epsilon_high", made.epsilon_low)
    made.args = SimpleNamespace(steps_per_generation=1, entropy_target=None, **{f: settings.get(f, default(f)) for f in READ})
    made.entropy_coef = settings.get("entropy_coef", 0.0)
    made._entropy_bonus_enabled = made.entropy_coef > 0
    made.use_adaptive_entropy = False
    made.max_completion_length = of.limit
    made._get_per_token_logps_and_entropies = lambda *_, **__: (now.logp, now.entropy, None)
    loss = made._compute_loss(None, _inputs(of, advantage))
    return torch.as_tensor(loss)


def _made(kind: Any) -> Any:
    made = kind.__new__(kind)
    made.model = SimpleNamespace(training=True)
    made.accelerator = Machine()
    made._metrics = {"train": defaultdict(list)}
    made.current_gradient_accumulation_steps = 1
    made.top_entropy_quantile = 1.0
    made.off_policy_mask_threshold = None
    made.use_vllm = made.vllm_importance_sampling_correction = made.aux_loss_enabled = False
    return made


def _inputs(of: Batch, advantage: Tensor) -> dict[str, Any]:
    mask = of.mask.to(of.old_logp)
    tokens = torch.zeros(of.mask.shape, dtype=torch.long)
    return {
        "prompt_ids": tokens[:, :1],
        "prompt_mask": tokens[:, :1],
        "completion_ids": tokens,
        "completion_mask": mask,
        "advantages": advantage[:, 0],
        "old_per_token_logps": of.old_logp,
        "old_logps": ops.masked(of.old_logp, of.mask).sum(-1),
        "ref_per_token_logps": of.ref_logp,
        "num_items_in_batch": mask.sum(),
    }


def preference(logits: Tensor, tokens: Tensor, better: Side, worse: Side, **settings: Any) -> tuple[Tensor, dict[str, float]]:
    """() the loss of its preference trainer, and what it logs, for (2 P, 1 + T, V) logits and (2 P, 1 + T) tokens, better ones first."""
    made = _made(importlib.import_module("trl.trainer.dpo_trainer").DPOTrainer)
    standard = {"loss_types": ["sigmoid"], "loss_weights": [1.0], "label_smoothing": 0.0, "f_divergence_type": "reverse_kl"}
    for name, value in (standard | settings).items():
        setattr(made, name, value)
    made.ld_alpha, made.precompute_ref_logps, made.use_weighting, made._total_train_tokens = None, True, False, 0
    mask = torch.cat([better.mask, worse.mask])
    inputs = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "completion_mask": torch.nn.functional.pad(mask, (1, 0)).long(),
        "ref_chosen_logps": ops.masked(better.ref_logp, better.mask).sum(-1),
        "ref_rejected_logps": ops.masked(worse.ref_logp, worse.mask).sum(-1),
    }
    loss = made._compute_loss(lambda **_: SimpleNamespace(logits=logits), inputs, False)
    return torch.as_tensor(loss), {name: found[-1] for name, found in made._metrics["train"].items()}
