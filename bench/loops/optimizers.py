"""What moves the weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
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
            f"train.optimizer is {settings.optimizer}, which knows no weights in pieces over {model.ranks.size} processes; "
            "leave it at adamw, whose states are in pieces, too"
        )
    kinds = _of_8_bits()
    kind = kinds.AdamW8bit if settings.optimizer == "adamw_8bit" else kinds.PagedAdamW8bit
    made: Optimizer = kind(groups, lr, betas, weight_decay=settings.weight_decay)
    return made


def state(optimizer: Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """What it remembers, as `name/part`; `names` are those of the weights it moves, in its order."""
    found: dict[str, Tensor] = {}
    for i, parts in optimizer.state_dict()["state"].items():
        held = {name: value for name, value in parts.items() if not isinstance(value, dict)}
        for wrapped in (value for value in parts.values() if isinstance(value, dict)):  # bitsandbytes hides its own there
            held |= wrapped
        found |= {f"{names[i]}/{part}": value if isinstance(value, Tensor) else torch.tensor(value) for part, value in held.items()}
    return found


def restore(optimizer: Optimizer, names: Sequence[str], held: Mapping[str, Tensor]) -> None:
    """Take back what `state` gave."""
    of = {name: i for i, name in enumerate(names)}
    found: dict[int, dict[str, Any]] = {i: {} for i in range(len(names))}
    for key, value in held.items():
        name, _, part = key.rpartition("/")
        counts = value.dtype == torch.int64  # bitsandbytes counts its steps in a plain number
        found[of[name]][part] = int(value) if counts else value
    optimizer.load_state_dict({"state": found, "param_groups": optimizer.state_dict()["param_groups"]})


def _of_8_bits() -> Any:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of kernels for inference that it has not got
    try:
        from bitsandbytes import optim
    except ImportError as error:
        raise MissingError(f'optimizer states of 8 bits need bitsandbytes ({error}): pip install "rl-bench-suite[optim]"') from error
    return optim
