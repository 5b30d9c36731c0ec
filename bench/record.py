"""One line of a learning curve."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Record:
    """The state of a run after `step` rollout batches. Counts are cumulative and include what a rule discarded."""

    step: int
    samples: int  # completions generated for training
    tokens: int  # tokens generated for training
    verifier_calls: int
    updates: int  # optimizer steps
    seconds: float  # wall clock since the run began, evaluation included
    cpu_seconds: float  # this process's; the verifier's workers are not counted
    train_score: float  # mean verdict of this step's completions, before any filtering
    eval_score: float | None = None  # held-out pass@1, where this step evaluated
    probes: dict[str, float] = field(default_factory=dict)  # a probe without meaning is absent, never 0
