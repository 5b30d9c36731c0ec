"""A tokenizer's chat template: the text of a prompt, and the token that ends an answer."""

from __future__ import annotations

import json
from typing import Any

from bench.errors import ConfigError
from bench.model_settings import ModelSettings

DATE = "26 Jul 2024"  # for templates that write today's: a prompt must be the same tomorrow


def render(tokenizer: Any, settings: ModelSettings, prompt: str, answer: str | None = None) -> str:
    """The prompt as the user's message, ready for the assistant's; with its answer, as a finished exchange.

    Raises ConfigError where the template refuses what the settings give it.
    """
    said = [{"role": "system", "content": settings.system}] if settings.system else []
    said.append({"role": "user", "content": prompt})
    if answer is not None:
        said.append({"role": "assistant", "content": answer})
    variables: dict[str, Any] = {"date_string": DATE} | (json.loads(settings.template) if settings.template else {})
    try:
        return str(tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=answer is None, **variables))
    except Exception as error:  # a template is a program, and says in its own words what it does not take
        raise ConfigError(
            f"the model's chat template refuses the prompt ({error}); leave model.system and model.template out, or set model.chat=off"
        ) from error


def end_of_turn(tokenizer: Any, settings: ModelSettings) -> int | None:
    """The special token that follows an answer, which is not always the one that ends a text: base models often carry the template of
    their chat siblings. None where the template refuses an answer, or puts no such token after it."""
    mark = "ANSWER"
    try:
        text = render(tokenizer, settings, "Question?", mark)
    except ConfigError:
        return None
    rest = text.rpartition(mark)[2].lstrip()
    tokens = tokenizer(rest, add_special_tokens=False)["input_ids"] if mark in text and rest else []
    special = {*tokenizer.all_special_ids, *(i for i, token in tokenizer.added_tokens_decoder.items() if token.special)}
    return int(tokens[0]) if tokens and tokens[0] in special else None
