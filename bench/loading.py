"""From a folder or a Hugging Face id to a model and its tokenizer, as the settings want them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from bench import lora
from bench.errors import ConfigError, MissingError
from bench.model_settings import ModelSettings

OF_TORCH = ("torchvision", "torchaudio", "torchcodec")  # where they do not fit the torch that is there, imports of transformers fail


def load(folder_or_id: str | Path, device: str, settings: ModelSettings) -> tuple[Any, Any]:
    """A causal language model on its device, in evaluation mode, and its tokenizer. A local folder needs no network.

    Raises MissingError where neither holds a model or a package is missing, ConfigError where the settings do not fit it.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name, local = str(folder_or_id), Path(folder_or_id).is_dir()
    where: dict[str, Any] = {"local_files_only": local} | ({"revision": settings.revision} if settings.revision else {})
    dtype = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
    chosen = attention(settings, device)
    try:
        with no_bars() if local else nullcontext():  # a download may show its progress
            tokenizer = AutoTokenizer.from_pretrained(name, **where)
            model: Any = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, attn_implementation=chosen, **where)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if any(name in f"{error}{error.__cause__}" for name in OF_TORCH) or "Could not import module" in reason:
            reason += (
                f"; if {', '.join(OF_TORCH)} are built for another torch: pip uninstall -y {' '.join(OF_TORCH)}, text needs none of them"
            )
        if chosen is not None and (chosen in reason or "attention" in reason.lower()):
            raise ConfigError(f"model.attention is {chosen!r}: {reason}; leave it at auto, or take sdpa or eager") from error
        raise MissingError(
            f"no causal language model at {name!r}: give a folder that holds config.json, the weights and the tokenizer, "
            f"or a Hugging Face model id that this machine can download or has in its cache ({reason})"
        ) from error
    if not local:
        model.config._commit_hash = commit(name, settings.revision)
    if settings.lora_rank:
        model = lora.adapt(model, settings)
    if settings.gradient_checkpointing:
        _checkpoint(model)
    _without_dropout(model)
    return model.to(device).eval(), tokenizer


def commit(name: str, revision: str) -> str | None:
    """The commit of a Hugging Face id that lies in the cache, by which exactly these weights can be had again."""
    from transformers.utils.hub import cached_file

    found = cached_file(name, "config.json", revision=revision or None, local_files_only=True)
    return None if found is None else Path(found).parent.name


def attention(settings: ModelSettings, device: str) -> str | None:
    """The name of the attention implementation; None leaves the choice to transformers, which takes torch's own kernels."""
    if settings.attention != "auto":
        return settings.attention
    fits = device.startswith("cuda") and settings.dtype != "float32" and find_spec("flash_attn") is not None
    return "flash_attention_2" if fits else None


def _without_dropout(model: Any) -> None:
    """Takes dropout out altogether: the policy that samples is the one that trains, also where a layer that recomputes believes itself in
    training."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _checkpoint(model: Any) -> None:
    """Raises ConfigError for an architecture that cannot recompute its layers."""
    try:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(f"model.gradient_checkpointing is true, and {type(model).__name__} has none; leave it out") from error


@contextmanager
def no_bars() -> Iterator[None]:
    """No progress bars from transformers, which would mix with what a command prints."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
