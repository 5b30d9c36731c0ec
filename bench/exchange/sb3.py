"""Stable-Baselines3: progress.csv of the csv logger, evaluations.npz of EvalCallback and monitor.csv, in one folder a run."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from bench.exchange.log import Log, Names, corrupt, text_lines

CSV, EVALUATIONS, MONITOR = "progress.csv", "evaluations.npz", "monitor.csv"
STEP = "time/total_timesteps"
EPISODE, LENGTH, JUDGED = "monitor/r", "monitor/l", "eval/mean_reward"
NAMES = Names(
    library="sb3",
    title="Stable-Baselines3",
    unit="environment steps",
    # Not `train/approx_kl`, which is of the last epoch alone, `train/clip_fraction`, which counts ratios whether or not their gradient is
    # shut, `train/value_loss`, which is twice ours and of the critic as it learns, nor `rollout/ep_rew_mean`, of the last 100 episodes.
    probes={
        "train/entropy_loss": "entropy/token",
        "train/explained_variance": "value/explained_var",
        "train/ent_coef": "temperature",
        "rollout/exploration_rate": "epsilon",
        EPISODE: "ep/return",
        LENGTH: "ep/length",
        JUDGED: "eval/return",
        "eval/mean_ep_length": "eval/length",
    },
    negative=frozenset({"train/entropy_loss"}),
    trained=(EPISODE, "rollout/ep_rew_mean"),
    judged=(JUDGED,),
    returns=frozenset({EPISODE, "rollout/ep_rew_mean", JUDGED}),
    rate="train/learning_rate",
)


def runs(source: Path) -> list[Path]:
    """The folders that hold one of the three."""
    if source.is_file():
        return [source.parent]
    known = {path.parent for name in (CSV, EVALUATIONS, f"*{MONITOR}") for path in source.rglob(name)}
    return sorted(known)


def read(path: Path) -> Log:
    """Raises StoreError for a file that is not one of these, naming it and the line at fault."""
    log = Log(path, [])
    if (path / CSV).exists():
        _progress(path / CSV, log)
    if (path / EVALUATIONS).exists():
        _evaluations(path / EVALUATIONS, log)
    monitors = sorted(path.glob(f"*{MONITOR}"))
    for monitor in monitors:
        _monitor(monitor, log, len(monitors))
    for pairs in log.series.values():
        pairs.sort(key=lambda pair: pair[0])
    return log


def _progress(path: Path, log: Log) -> None:
    lines, cut = text_lines(path)
    rows = list(csv.reader(lines))
    log.files.append(path)
    head = rows[0]
    if STEP not in head:
        raise corrupt(path, "line 1", f"no column {STEP}")
    numeric = {name for i, name in enumerate(head) if any(_is_number(row[i]) for row in rows[1:] if len(row) == len(head))}
    for number, row in enumerate(rows[1:], start=2):
        if cut and number == len(rows):
            log.notes.append(f"{path} line {number} was cut, and is left out")
            return
        if len(row) != len(head):
            raise corrupt(path, f"line {number}", f"{len(row)} values for {len(head)} columns")
        try:
            values = {name: float(cell) for name, cell in zip(head, row, strict=True) if cell and name in numeric}
            step = int(values.pop(STEP))
        except (ValueError, KeyError) as error:
            raise corrupt(path, f"line {number}", repr(error)) from error
        elapsed = values.pop("time/time_elapsed", None)
        if elapsed is not None:
            log.seconds[step] = elapsed
        for name, value in values.items():
            log.add(name, step, value)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _evaluations(path: Path, log: Log) -> None:
    """The return of each episode; its means take the place of those in progress.csv, which are rounded to when it was dumped."""
    import zipfile

    import numpy

    try:
        with numpy.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
            steps, results, lengths = (numpy.asarray(held[name], dtype=float) for name in ("timesteps", "results", "ep_lengths"))
        if results.ndim != 2 or results.shape != lengths.shape or len(steps) != len(results):
            raise ValueError(f"shapes {steps.shape}, {results.shape} and {lengths.shape} do not belong together")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise corrupt(path, "", repr(error)) from error
    log.files.append(path)
    for name in (JUDGED, "eval/mean_ep_length"):
        log.series.pop(name, None)
    for step, returns, length in zip(steps, results, lengths, strict=True):
        if numpy.isfinite(returns).all():
            log.items[int(step)] = tuple(float(one) for one in returns)
        log.add(JUDGED, int(step), float(returns.mean()))
        log.add("eval/mean_ep_length", int(step), float(length.mean()))


def _monitor(path: Path, log: Log, files: int) -> None:
    """Episodes of training. Each of several environments has a file, and all step at the same time."""
    lines, cut = text_lines(path)
    log.files.append(path)
    if len(lines) < 2 or not lines[0].startswith("#") or lines[1].split(",")[:3] != ["r", "l", "t"]:
        raise corrupt(path, "lines 1 and 2", "not the head of a monitor file")
    seen = 0
    for number, line in enumerate(lines[2:], start=3):
        if cut and number == len(lines):
            log.notes.append(f"{path} line {number} was cut, and is left out")
            return
        try:
            total, length = (float(cell) for cell in line.split(",")[:2])
        except ValueError as error:
            raise corrupt(path, f"line {number}", repr(error)) from error
        seen += int(length)
        log.add(EPISODE, seen * files, total)
        log.add(LENGTH, seen * files, length)
