"""One line of a learning curve."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Items:
    """The score of each held-out item at one evaluation: problems of text, episodes on Gymnasium. Equal keys, the same items in order."""

    key: str
    scores: tuple[float, ...]  # in the unit of `Record.eval_score`, which is their mean


@dataclass(frozen=True)
class Judged:
    """What one evaluation found."""

    probes: dict[str, float]
    items: Items


@dataclass(frozen=True)
class Record:
    """The state of a run after `step` rollout batches, or so many evenly spaced intervals on Gymnasium. Counts are cumulative and
    include what a rule discarded. In a run that was imported, what the log did not tell is None."""

    step: int
    samples: int  # completions generated for training; environment steps on Gymnasium, gradient steps on a log
    tokens: int  # tokens generated for training; actions taken on Gymnasium
    verifier_calls: int
    updates: int  # optimizer steps
    seconds: float  # wall clock since the run began, evaluation included
    cpu_seconds: float  # this process's; the verifier's workers are not counted; seeds trained together share it evenly
    train_score: float | None  # mean verdict of this step's completions, before any filtering; of the episodes finished since the last
    eval_score: float | None = None  # held-out pass@1, or the deterministic policy's score on its own episodes, where this step evaluated
    probes: dict[str, float] = field(default_factory=dict)  # a probe without meaning is absent, never 0
    items: Items | None = field(default=None, compare=False)  # where this step evaluated; written, and read apart
