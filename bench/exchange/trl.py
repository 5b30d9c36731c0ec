"""TRL: the `log_history` of trainer_state.json, in an output folder or the newest of its checkpoints."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bench.exchange.log import Log, Names, corrupt, text_lines

FILE = "trainer_state.json"
NAMES = Names(
    library="trl",
    title="TRL",
    unit="optimizer steps",
    # Not `num_tokens`, which counts prompts as well, nor `clip_ratio/*`, whose denominator has tokens without an advantage, nor
    # `completions/mean_terminated_length`, which is 0 where none is.
    probes={
        "entropy": "entropy/token",
        "kl": "kl_ref/k3",
        "grad_norm": "grad/norm",
        "reward": "reward/mean",
        "completions/mean_length": "len/mean",
        "completions/clipped_ratio": "len/truncated_frac",
    },
    trained=("reward",),
    judged=("eval_reward",),
    rate="learning_rate",
    steps_are_updates=True,
)
SUMMARY = frozenset({"train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos"})


def runs(source: Path) -> list[Path]:
    """The files of the runs below a folder, one each: the run's own, or its newest checkpoint's."""
    if source.is_file():
        return [source]
    found: dict[Path, list[Path]] = {}
    for path in source.rglob(FILE):
        checkpoint = re.fullmatch(r"checkpoint-\d+", path.parent.name)
        found.setdefault(path.parent.parent if checkpoint else path.parent, []).append(path)
    return [max(paths, key=_age) for _, paths in sorted(found.items())]


def _age(path: Path) -> tuple[bool, int]:
    """The output folder's own file is the newest; of checkpoints, the one with the highest number."""
    kind, _, number = path.parent.name.partition("-")
    checkpoint = kind == "checkpoint" and number.isdecimal()
    return (not checkpoint, int(number) if checkpoint else 0)


def read(path: Path) -> Log:
    """Raises StoreError for a file that is not one of these, naming it and the entry at fault."""
    try:
        state = json.loads("\n".join(text_lines(path)[0]))
        history = list(state["log_history"])
    except (ValueError, KeyError, TypeError) as error:
        raise corrupt(path, "", repr(error)) from error
    log, clock = Log(path, [path]), 0.0
    log.budget = state.get("max_steps") or None
    for number, entry in enumerate(history, start=1):
        try:
            step = int(entry["step"])
            values = {name: float(value) for name, value in entry.items() if name not in ("step", "epoch") and value is not None}
        except (KeyError, TypeError, ValueError) as error:
            raise corrupt(path, f"entry {number} of log_history", repr(error)) from error
        clock += values.get("step_time", 0.0) + values.get("eval_runtime", 0.0)
        if clock:
            log.seconds[step] = clock
        for name, value in values.items():
            if name not in SUMMARY:
                log.add(name, step, value)
    every = {step for step, _ in log.series.get("step_time", [])}
    if every != set(range(1, max(every, default=0) + 1)):
        log.seconds = {}  # steps that were not logged took time as well
    return log
