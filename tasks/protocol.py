"""How a full-tier task is asked and read, stated once and versioned: scores under different protocols are different quantities."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

PLACE = "{question}"  # where the problem's own text goes in a prompt
SAMPLED = "temperature 1 from the whole distribution"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything beside the model and the problems that a held-out score depends on. A change of any of it takes a new version."""

    name: str  # with its version, such as gsm8k/1
    prompt: str  # the user's message, with PLACE where the problem's text goes
    strict: str  # how the answer is read that the score counts
    lenient: str  # how the second reading finds an answer whose form is wrong
    limit: int  # tokens of a completion
    decoding: str = SAMPLED
    completions: int  # per problem
    problems: int = 0  # the first so many of the held-out split; 0: all it has

    def asked(self, question: str) -> str:
        """The prompt of one problem."""
        return self.prompt.replace(PLACE, question)

    @property
    def digest(self) -> str:
        """Twelve hex digits of the SHA-256 of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]

    def facts(self) -> dict[str, Any]:
        """All of it with the digest, as JSON values."""
        return {**asdict(self), "digest": self.digest}
