"""Low-rank adapters beside a model's linear layers (LoRA, arXiv 2106.09685), made by peft and put into the model itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from bench.errors import ConfigError, MissingError
from bench.model_settings import ModelSettings

NAME = "default"  # of the one adapter, as peft names it
SEED = 0  # of the adapters' first half; the second starts at zero, so the model is at first what it was without them


def adapt(model: Any, settings: ModelSettings) -> Any:
    """The model with adapters in place, float32 and the only weights that train. torch's global generator is left as it was.

    Raises MissingError without peft, ConfigError where no module has the name of a target.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it, and it tells of kernels that it has not got
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingError(
            f'model.lora_rank is {settings.lora_rank}, and adapters need peft ({error}): pip install "rl-bench-suite[lora]"'
        ) from error
    turned = any(_turned(module) for module in model.modules())
    rank, alpha = settings.lora_rank, settings.alpha
    named = linear(model) if settings.lora_target == "all-linear" else settings.lora_target.split("|")
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=named, fan_in_fan_out=turned, task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        try:
            model = inject_adapter_in_model(config, model)
        except ValueError as error:
            raise ConfigError(f"model.lora_target is {settings.lora_target!r}: {str(error).splitlines()[0]}") from error
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    if model.config.get_text_config().tie_word_embeddings and any(hasattr(module, "base_layer") for module in ends):
        raise ConfigError(
            f"model.lora_target is {settings.lora_target!r}, but this model reads and writes words with one matrix, and an adapter would "
            "change one of the two alone; leave embeddings and head out"
        )
    for name, parameter in model.named_parameters():
        if adapter(name):
            parameter.data = parameter.data.float()
    return model


def linear(model: Any) -> list[str]:
    """The names of a model's linear layers but its head. The fused experts of a mixture are none."""
    head = model.get_output_embeddings()
    return [n for n, module in model.named_modules() if module is not head and (type(module) is torch.nn.Linear or _turned(module))]


def _turned(module: Any) -> bool:
    """Whether it is GPT-2's kind of linear layer, which holds its weights the other way round."""
    return type(module).__name__ == "Conv1D"


def adapter(name: str) -> bool:
    """Whether a parameter of this name is an adapter's."""
    return ".lora_" in name


def layers(model: Any) -> Iterator[tuple[str, Any]]:
    """The name and module of each layer that has an adapter; none where peft is not even there."""
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight") and hasattr(module, "base_layer"):
            yield name, module


@contextmanager
def without(model: Any) -> Iterator[None]:
    """The model as it was before its adapters."""
    held = [module for _, module in layers(model)]
    learning = [(p, p.requires_grad) for name, p in model.named_parameters() if adapter(name)]
    for module in held:
        module.enable_adapters(False)
    try:
        yield
    finally:
        for module in held:
            module.enable_adapters(True)
        for parameter, learns in learning:  # peft takes what is switched on for what is to learn
            parameter.requires_grad_(learns)


@torch.no_grad()
def merged(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state under the name it has without adapters, with what they add."""
    added = dict(layers(model))
    for name, tensor in model.state_dict().items():
        if adapter(name):
            continue
        owner = name.removesuffix(".weight").removesuffix(".base_layer")
        if name.endswith(".base_layer.weight") and owner in added:
            whole = tensor.float() + added[owner].get_delta_weight(NAME).float()
            yield f"{owner}.weight", whole.to(tensor.dtype)
        else:
            yield name.replace(".base_layer.", "."), tensor


def trained(model: Any) -> list[tuple[str, Parameter]]:
    """What training moves, by name: the adapters where there are some, else every parameter."""
    named = list(model.named_parameters())
    return [(name, p) for name, p in named if adapter(name)] or named
