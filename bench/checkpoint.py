"""Checkpoints that are either complete or absent: tensors as safetensors, the rest as JSON, a manifest with checksums written last."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import sync, write

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST, STATE = "manifest.json", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: every file had the size and checksum of its manifest when this was made."""

    step: int
    folder: Path
    state: dict[str, Any]  # what the run gave to `checkpoint`, as JSON reads it back
    covers: dict[str, int]  # length in bytes of each log file at that moment

    def holds(self, name: str) -> bool:
        """Whether tensors were saved under this name."""
        return (self.folder / f"{name}.safetensors").exists()

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors saved under this name, on the CPU. Raises KeyError for a name that was not saved."""
        from safetensors.torch import load_file

        if not self.holds(name):
            raise KeyError(name)
        return load_file(self.folder / f"{name}.safetensors")


def save(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: dict[str, Any], covers: dict[str, int], alone: bool = True
) -> None:
    """Commits `folder/<step>` by renaming a complete folder, then deletes the older ones, if it is to be `alone`. A step saved before is
    left as it is.

    `tensors` maps a name, `model` for model.safetensors, to named tensors. Raises OSError where the disk refuses.
    """
    target, temporary = folder / str(step), folder / f".tmp-{step}"
    if target.exists():
        return
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    try:
        for name, group in tensors.items():
            save_tensors(temporary / f"{name}.safetensors", group)
        write(temporary / STATE, json.dumps({"step": step, "covers": covers, "state": state}, sort_keys=True))
        files = {path.name: _fingerprint(path) for path in sorted(temporary.iterdir())}
        write(temporary / MANIFEST, json.dumps({"files": files}, sort_keys=True))
        sync(temporary)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(folder)
    if alone:
        keep_only(folder, step)


def latest(folder: Path, then: str = "the run continues from an earlier point") -> tuple[Checkpoint | None, list[str]]:
    """The newest complete checkpoint and a warning for each newer one that was damaged, with what happens then. Every other one is
    removed."""
    warnings: list[str] = []
    for step in sorted(steps(folder), reverse=True):
        try:
            checkpoint = load(folder / str(step), step)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.append(f"checkpoint {folder / str(step)} is damaged ({error}) and was removed; {then}")
            continue
        keep_only(folder, step)
        return checkpoint, warnings
    keep_only(folder, None)
    return None, warnings


def keep_only(folder: Path, step: int | None) -> None:
    """Removes every checkpoint but this one, and what an interrupted save left."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name != str(step):
                shutil.rmtree(path, ignore_errors=True)


def steps(folder: Path) -> list[int]:
    """The steps that were saved, complete or not."""
    return [int(path.name) for path in folder.iterdir() if re.fullmatch(r"0|[1-9]\d*", path.name)] if folder.is_dir() else []


def load(folder: Path, step: int) -> Checkpoint:
    """Raises ValueError, OSError or KeyError naming the first file that is not what the manifest says."""
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"no {MANIFEST}")
    files = json.loads((folder / MANIFEST).read_text())["files"]
    for name, fingerprint in files.items():
        if not (folder / name).is_file():
            raise ValueError(f"no {name}")
        if _fingerprint(folder / name) != fingerprint:
            raise ValueError(f"{name} does not match its checksum")
    if STATE not in files:
        raise ValueError(f"{MANIFEST} does not list {STATE}")
    held = json.loads((folder / STATE).read_text())
    if held["step"] != step:
        raise ValueError(f"{STATE} belongs to step {held['step']}")
    return Checkpoint(step, folder, held["state"], held["covers"])


def _fingerprint(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        return {"size": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def save_tensors(path: Path, group: Mapping[str, Tensor]) -> None:
    """A safetensors file, on the disk when this returns. Tied tensors are saved once for each name: the format refuses shared memory."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    ready = {}
    for name, tensor in group.items():
        tensor = tensor.detach().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        ready[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    try:
        save_file(ready, path)
    except SafetensorError as error:  # its input and output errors carry the system's number in their text only
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else 0
        raise OSError(code, os.strerror(code) if code else str(error), str(path)) from error
    sync(path)
