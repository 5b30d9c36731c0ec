"""Any TensorBoard event files, one folder a run. What their steps and tags mean is for whoever wrote them to say."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from bench.errors import MissingError
from bench.exchange.log import Log, Names, corrupt

FILES = "*tfevents*"
PIP = 'pip install "rl-bench-suite[track]"'
NAMES = Names(library="tensorboard", title="TensorBoard", unit="steps", probes={})


def runs(source: Path) -> list[Path]:
    """The folders that hold event files."""
    if source.is_file():
        return [source]
    return sorted({path.parent for path in source.rglob(FILES)})


def begun(path: Path) -> Log:
    """An empty log with its files."""
    return Log(path, [path] if path.is_file() else sorted(path.glob(FILES)))


def read(path: Path) -> Log:
    """Raises StoreError for a damaged file, naming it and the byte at fault, MissingError without the tensorboard library."""
    log = begun(path)
    scalars(accumulated(log), log)
    return log


def scalars(held: Any, log: Log) -> None:
    """Puts every scalar into the log, and when it was written. Raises StoreError where there is none."""
    first: float | None = None
    for tag in held.Tags()["scalars"]:
        for event in held.Scalars(tag):
            log.add(tag, int(event.step), float(event.value))
            first = event.wall_time if first is None else min(first, event.wall_time)
            log.seconds[int(event.step)] = max(event.wall_time, log.seconds.get(int(event.step), 0.0))
    _newer_scalars(held, log)
    log.seconds = {step: wall - (first or 0.0) for step, wall in log.seconds.items()}
    if not log.series:
        raise corrupt(log.source, "", "no scalar in it")


def accumulated(log: Log) -> Any:
    """TensorBoard's own view of the log's files, with every value kept. Raises as `read` does."""
    try:
        from tensorboard import version
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise MissingError(f"event files are read by TensorBoard's own library, which is not installed; {PIP}") from error
    for file in log.files:
        _check(file, log)
    log.versions["tensorboard"] = version.VERSION
    return EventAccumulator(str(log.source), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def _newer_scalars(held: Any, log: Log) -> None:
    """Scalars of TensorFlow 2 are tensors with a mark."""
    from tensorboard.util.tensor_util import make_ndarray

    try:
        marked = held.PluginTagToContent("scalars")
    except KeyError:  # no such mark in these files
        return
    for tag in set(held.Tags()["tensors"]) & set(marked):
        for event in held.Tensors(tag):
            log.add(tag, int(event.step), float(make_ndarray(event.tensor_proto).item()))


def _check(path: Path, log: Log) -> None:
    """TensorBoard stops at a damaged record without a word. Raises StoreError for one, unless it is the last and was merely cut."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    try:
        data = path.read_bytes()
    except OSError as error:
        raise corrupt(path, "", error.strerror or error) from error
    at = 0
    while at < len(data):
        head, end = data[at : at + 12], 0
        if len(head) == 12:
            length, crc = struct.unpack("<QI", head)
            if masked_crc32c(head[:8]) != crc:
                raise corrupt(path, f"at byte {at}", "its checksum is wrong")
            end = at + 16 + length
        if len(head) < 12 or end > len(data):
            log.notes.append(f"{path} was cut at byte {at}; what comes before is read")
            break
        if masked_crc32c(data[at + 12 : end - 4]) != struct.unpack("<I", data[end - 4 : end])[0]:
            raise corrupt(path, f"at byte {at}", "its checksum is wrong")
        at = end
    if at == 0:
        raise corrupt(path, "", "no record in it")
