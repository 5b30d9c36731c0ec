"""How a checkpoint is loaded, talked to and trained: the settings that `--set model.NAME=VALUE` reaches."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from bench.errors import ConfigError

Dtype = Literal["float32", "mixed", "bfloat16"]
Chat = Literal["auto", "on", "off"]


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The same for every rule unless the user says otherwise."""

    # float32: weights and arithmetic. mixed: float32 weights, bfloat16 arithmetic. bfloat16: both; an update below 1/256 of a weight is
    # then lost to rounding, which at the learning rates of full training are nearly all, so it is for weights that stay as they are.
    dtype: Dtype = "float32"
    attention: str = "auto"  # transformers' name of an implementation; auto: flash_attention_2 where it is installed and fits
    gradient_checkpointing: bool = False  # computes each layer twice and keeps the states between layers only
    lora_rank: int = 0  # train adapters of this rank (LoRA, arXiv 2106.09685) in place of every weight
    lora_alpha: int = 0  # the adapters' share is alpha / rank; 0: twice the rank
    lora_target: str = "all-linear"  # names of the modules that get one, with | between them; all-linear: every one but the head
    chat: Chat = "auto"  # put a prompt in the model's chat template, as the user's message; auto: where the tokenizer has one
    system: str = ""  # the system's message before it
    template: str = ""  # a JSON object of variables for the chat template, such as {"enable_thinking": false}
    revision: str = ""  # of a Hugging Face id: branch, tag or commit

    def __post_init__(self) -> None:
        """Raises ConfigError for values that cannot be meant."""
        for name in ("lora_rank", "lora_alpha"):
            if getattr(self, name) < 0:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; it must be 0 or more")
        if self.lora_rank == 0:
            for name in ("lora_alpha", "lora_target"):
                if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    raise ConfigError(f"model.{name} is {getattr(self, name)}, but model.lora_rank is 0; set a rank, such as 16")
        if self.dtype == "bfloat16" and self.lora_rank == 0:
            raise ConfigError(
                "model.dtype is bfloat16, and in bfloat16 weights most updates round to nothing; "
                "take mixed, which computes in bfloat16 and keeps float32 weights, or train adapters with model.lora_rank"
            )
        for name in ("system", "template"):
            if getattr(self, name) and self.chat == "off":
                raise ConfigError(f"model.{name} is given, but model.chat is off, and only a chat template has a use for it; leave one out")
        _check_template(self.template)

    def changes(self) -> dict[str, Any]:
        """What differs from the defaults, which is what a specification records."""
        return {f.name: value for f in dataclasses.fields(self) if (value := getattr(self, f.name)) != f.default}

    @property
    def alpha(self) -> int:
        """The numerator of the adapters' share."""
        return self.lora_alpha or 2 * self.lora_rank


def _check_template(text: str) -> None:
    """Raises ConfigError for what is no JSON object."""
    try:
        held = json.loads(text or "{}")
    except ValueError:
        held = None
    if not isinstance(held, dict):
        raise ConfigError(f'model.template is {text!r}, which is no JSON object; write one such as {{"enable_thinking": false}}')


PLAIN = ModelSettings()
