"""A fake that answers from a list: for tests and dry runs, without sampling."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

import torch

from bench.chance import number
from bench.errors import ConfigError
from bench.policy import Policy
from bench.samplers.base import Completion, Sampler, Session


@dataclass(frozen=True, kw_only=True)
class Scripted(Sampler):
    """Answers from a list instead of sampling, with the policy's own log-probabilities."""

    answers: str = ""  # JSONL file of {"prompt": text, "completions": [text, ...]}; a line without "prompt" answers every other prompt
    texts: tuple[str, ...] = ("0", "1")  # taken in turn where there is no file; the seed of a call says which comes first

    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.answers and not self.texts:
            raise ConfigError("texts is empty and answers names no file; the scripted sampler needs at least one text to answer with")

    def open(self, policy: Policy) -> ScriptedSession:
        """Raises ConfigError where the file is missing or says nothing."""
        return ScriptedSession(policy, _script(Path(self.answers)) if self.answers else {None: self.texts})


Script = dict[str | None, tuple[str, ...]]  # texts by prompt; None holds those for any other prompt


class ScriptedSession(Session):
    """A policy and what it is made to say. Each call goes round each list, from where its seed says, and nothing is kept between calls."""

    def __init__(self, policy: Policy, script: Script) -> None:
        self.policy = policy
        self.script = {None if prompt is None else tuple(policy.encode(prompt)): texts for prompt, texts in script.items()}

    def sample(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str) -> list[list[Completion]]:
        """Raises ConfigError for a prompt the script does not know."""
        turns: dict[tuple[int, ...] | None, Iterator[int]] = defaultdict(lambda: count(number(seed)))
        spoken = [[self._next(tuple(prompt), turns)[:limit] for _ in range(n)] for prompt in prompts]
        return [[self._completion(prompt, tokens) for tokens in own] for prompt, own in zip(prompts, spoken, strict=True)]

    def _next(self, prompt: tuple[int, ...], turns: Mapping[tuple[int, ...] | None, Iterator[int]]) -> list[int]:
        key = prompt if prompt in self.script else None
        if key not in self.script:
            raise ConfigError(
                f"the script has no completions for the prompt {self.policy.decode(prompt)!r}; add a line for it, or one without a prompt"
            )
        texts = self.script[key]
        text = texts[next(turns[key]) % len(texts)]
        return [*self.policy.plain(text), self.policy.end]

    @torch.no_grad()
    def _completion(self, prompt: Sequence[int], tokens: list[int]) -> Completion:
        logp = self.policy.forward([prompt], [tokens]).logp[0].tolist()
        return Completion(tuple(tokens), tuple(logp), self.policy.decode(tokens), tokens[-1] != self.policy.end)

    def refresh(self) -> None:
        """Nothing to do: log-probabilities are read from the policy itself."""


def _script(path: Path) -> Script:
    remedy = 'write one JSON object per line, {"prompt": text, "completions": [text, ...]}, and leave "prompt" out to answer any other'
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        script = {line.get("prompt"): tuple(map(str, line["completions"])) for line in lines}
    except OSError as error:
        raise ConfigError(f"answers is {str(path)!r}, which cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"answers is {str(path)!r}, which is no list of completions ({error!r}); {remedy}") from error
    if not script or not all(script.values()):
        raise ConfigError(f"answers is {str(path)!r}, which leaves a prompt without completions; {remedy}")
    return script
