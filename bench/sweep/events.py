"""What is told of a run while a sweep goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from bench.run_folder import Failure

# busy: another process is at it. again: it is put back into the queue after a death that may not come back.
Kind = Literal["started", "record", "finished", "diverged", "failed", "busy", "again"]
ENDS = ("finished", "diverged", "failed")


@dataclass(frozen=True)
class Event:
    """One thing that has come to be known of a run."""

    kind: Kind
    run: str  # its id
    samples: int = 0  # of its budget; of a record, and at the end
    score: float | None = None  # the newest on the held-out split
    seconds: float = 0.0  # wall clock since the run began, evaluation included
    reason: str = ""  # of what ended it, a sentence with the remedy; of "finished", what there is to warn of
    failure: Failure | None = None  # of "failed" and "again"

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Event:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))
