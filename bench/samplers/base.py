"""What every sampler gives and takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.errors import ConfigError

if TYPE_CHECKING:
    from bench.policy import Policy


@dataclass(frozen=True)
class Completion:
    """One sampled answer. Token ids travel, never re-encoded text."""

    tokens: tuple[int, ...]  # the end token included, where the model ended by itself
    logp: tuple[float, ...]  # the sampler's own log-probability of each token, natural logarithm, at temperature 1
    text: str  # without special tokens
    truncated: bool  # stopped by the limit


@dataclass(frozen=True, kw_only=True)
class Sampler(ABC):
    """Settings of a way to sample. `open` binds them to a policy."""

    exact: ClassVar[bool] = False  # its logp equals the training forward's to 1e-5 in float32, so it may serve as old_logp

    def ready(self) -> None:
        """Raises MissingError where a package that it needs is not installed. Imports nothing, so that it may be asked early."""
        return None

    @abstractmethod
    def open(self, policy: Policy) -> Session:
        """A session on this policy."""


class Session(ABC):
    """A sampler at work on one policy."""

    @abstractmethod
    def sample(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str) -> list[list[Completion]]:
        """n completions of at most `limit` tokens for each of P prompts given as token ids; the same seed gives the same completions.

        Temperature 1, no truncation of the distribution: the policy itself.
        """

    def share(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str, first: int, count: int) -> list[list[Completion]]:
        """What `sample` gives for the `count` prompts from number `first` on, which is one process's part; the others do theirs beside.

        All processes of a run call it together. A sampler that can give a part without the whole does so in place of this.
        """
        return self.sample(prompts, n, limit, seed)[first : first + count]

    def greedy(self, prompts: Sequence[Sequence[int]], limit: int) -> list[Completion]:
        """The completion of each prompt that takes the likeliest token at every place; log-probabilities are at temperature 1.

        Raises ConfigError where a sampler has no such mode.
        """
        raise ConfigError(f"{type(self).__name__} cannot decode greedily; choose a sampler that can, such as hf, or leave it out")

    @abstractmethod
    def refresh(self) -> None:
        """Take the policy's newest weights."""

    def close(self) -> None:
        """Give back what the session holds."""
        return None
