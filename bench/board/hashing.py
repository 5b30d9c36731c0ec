"""What a row of the leaderboard rests on, in twelve digits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from bench import files
from bench.run_folder import CURVE, ITEMS
from bench.trials import Trial


def row_hash(trials: Iterable[Trial]) -> str:
    """Twelve hex digits of the SHA-256 of the curve and the item scores of each run, in order of seed, packed or not.

    The same as `cat` of each seed's curve.jsonl and items.jsonl into `sha256sum`. Raises StoreError for a file that cannot be read.
    """
    found = hashlib.sha256()
    for trial in sorted(trials, key=lambda one: one.seed):
        for name in (CURVE, ITEMS):
            found.update(files.content(trial.folder / name))
    return found.hexdigest()[:12]


def spec_hash(spec: Mapping[str, Any]) -> str:
    """What the run id of a stored specification must be: it is the same whatever settings this version knows."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
