"""What moves the weights."""

from __future__ import annotations

from typing import Any

from torch.optim import AdamW, Optimizer

from bench.config import TrainSettings
from bench.errors import ConfigError, MissingError
from bench.policy import Policy


def optimizer(model: Policy, lr: float, head_lr: float, settings: TrainSettings) -> Optimizer:
    """AdamW over what the model trains and, at a rate of its own, its value head. `base` keeps the rates that warm-up scales.

    Raises MissingError for states of 8 bits without bitsandbytes, ConfigError for them over several processes.
    """
    head = [] if model.value_head is None else list(model.value_head.parameters())
    body = list(model.parameters())[: -len(head) or None]
    groups: list[dict[str, Any]] = [{"params": body, "lr": lr, "base": lr}]
    if head:
        groups.append({"params": head, "lr": head_lr, "base": head_lr})
    betas = (settings.beta1, settings.beta2)
    if settings.optimizer == "adamw":
        return AdamW(groups, lr, betas, weight_decay=settings.weight_decay, fused=True)
    if model.ranks.size > 1:
        raise ConfigError(
            f"train.optimizer is {settings.optimizer}, which knows no weights in pieces over {model.ranks.size} processes; leave it at adamw, "
            "whose states are in pieces, too"
        )
    kinds = _of_8_bits()
    kind = kinds.AdamW8bit if settings.optimizer == "adamw_8bit" else kinds.PagedAdamW8bit
    made: Optimizer = kind(groups, lr, betas, weight_decay=settings.weight_decay)
    return made


def _of_8_bits() -> Any:
    try:
        from bitsandbytes import optim
    except ImportError as error:
        raise MissingError(f'optimizer states of 8 bits need bitsandbytes ({error}): pip install "rl-bench-suite[optim]"') from error
    return optim
