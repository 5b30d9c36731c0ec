"""Which checkpoint a run starts from, and where it is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from bench.config import Choice, build
from bench.errors import ConfigError, MissingError
from bench.model_settings import ModelSettings

SPOKEN = ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
BASES = Path(__file__).resolve().parent.parent / "tasks" / "bases"


def choose(wanted: str, task: str, tier: str, given: dict[str, Any]) -> Choice:
    """The start checkpoint, how it is loaded, and the digest of its weights where it is a folder; `wanted` is empty where nobody says.

    Raises ConfigError for settings that do not fit, MissingError for a folder without weights and a task without a base model.
    """
    if not wanted and tier == "full":
        raise ConfigError("the full tier needs --model: a folder with a causal language model, or a Hugging Face id")
    name = wanted or f"base:{task}"
    folder = model_folder(name)
    if name.startswith("base:") and not folder.is_dir():
        made = sorted(p.name for p in BASES.iterdir() if p.is_dir()) if BASES.is_dir() else []
        raise MissingError(
            f"no base model for {task!r} (there are {', '.join(made) or 'none'}); make one with `bench pretrain {task}` or give --model"
        )
    settings = build(ModelSettings, "model", _dtype(tier, given) | given).changes()
    if not folder.is_dir():
        return Choice(name, settings)
    if "revision" in settings:
        raise ConfigError(f"model.revision is {settings['revision']!r}, but {name} is a folder, which has none; leave it out")
    return Choice(name if name.startswith("base:") else str(folder), {"digest": digest(folder, tier), **settings})


def _dtype(tier: str, given: dict[str, Any]) -> dict[str, Any]:
    """bfloat16 arithmetic on a GPU at the full tier; of the weights as well where they stay as they are."""
    if tier != "full" or not gpu():
        return {}
    return {"dtype": "bfloat16" if str(given.get("lora_rank", 0)) != "0" else "mixed"}


def digest(folder: Path, tier: str) -> str:
    """Twelve hex digits of the SHA-256 of a model folder's weights; at the full tier also of the files that say how it is talked to.

    Raises MissingError where it holds no weights.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise MissingError(f"{folder} holds no *.safetensors; give a folder made by save_pretrained")
    found = hashlib.sha256()
    spoken = [path for name in SPOKEN if (path := folder / name).is_file()] if tier == "full" else []
    for path in weights + spoken:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                found.update(block)
    return found.hexdigest()[:12]


def model_folder(name: str) -> Path:
    """Where a model's name points to; a Hugging Face id gives a path that does not exist."""
    return BASES / name.removeprefix("base:") if name.startswith("base:") else Path(name).expanduser().absolute()


def gpu() -> bool:
    """Whether torch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()
