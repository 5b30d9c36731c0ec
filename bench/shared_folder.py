"""A run's folder as all of its processes see it: the first one reads and writes, the others hear of it. No common disk is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.checkpoint import Checkpoint
from bench.config import RunSpec
from bench.ranks import Ranks
from bench.record import Record
from bench.run_folder import Failure, RunFolder
from bench.store import RunStore

T = TypeVar("T")


class Sent(Mapping[str, Tensor]):
    """Named tensors of the first process. Each is sent when it is asked for, so all processes ask for all of them, in the same order."""

    def __init__(self, ranks: Ranks, held: Mapping[str, Tensor] | None) -> None:
        """`held`: in the first process, what is sent."""
        self.ranks, self.held = ranks, held
        self.known = ranks.agreed({name: (tuple(tensor.shape), tensor.dtype) for name, tensor in sorted((held or {}).items())})

    def __getitem__(self, name: str) -> Tensor:
        shape, dtype = self.known[name]
        return self.ranks.sent(torch.empty(shape, dtype=dtype) if self.held is None else self.held[name].contiguous())

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


class Saved:
    """A checkpoint: its state, and its tensors by the name of their file."""

    def __init__(self, ranks: Ranks, checkpoint: Checkpoint | None) -> None:
        """`checkpoint`: in the first process."""
        self.ranks, self.checkpoint = ranks, checkpoint
        self.state = ranks.agreed({} if checkpoint is None else checkpoint.state)

    def holds(self, name: str) -> bool:
        """Whether tensors were saved under this name."""
        return self.ranks.does(lambda: self._own.holds(name))

    def tensors(self, name: str) -> Mapping[str, Tensor]:
        """Those saved under this name, on the CPU. Raises KeyError for a name that was not saved."""
        if self.ranks.size == 1:
            return self._own.tensors(name)
        held: list[Mapping[str, Tensor]] = []
        self.ranks.does(lambda: held.append(self._own.tensors(name)))
        return Sent(self.ranks, held[0] if held else None)

    @property
    def _own(self) -> Checkpoint:
        assert self.checkpoint is not None
        return self.checkpoint


class SharedFolder:
    """What a run does with its folder. Reading is done by all processes together; what is written is written by the first alone."""

    def __init__(self, ranks: Ranks, path: Path, folder: RunFolder | None) -> None:
        """`folder`: in the first process, opened."""
        self.ranks, self.path, self.folder = ranks, path, folder

    @property
    def warnings(self) -> list[str]:
        """For the caller to show."""
        return [] if self.folder is None else self.folder.warnings

    def read(self, what: Callable[[RunFolder], T]) -> T:
        """What the first process reads, for all. Raises StoreError."""

        def act() -> T:
            assert self.folder is not None
            return what(self.folder)

        return self.ranks.does(act)

    def rewound(self) -> Saved | None:
        """The newest complete checkpoint, with the logs cut back to it."""
        held: list[Checkpoint] = []

        def act(folder: RunFolder) -> bool:
            newest = folder.latest()
            folder.rewind(newest)
            held.extend([] if newest is None else [newest])
            return bool(held)

        return Saved(self.ranks, held[0] if held else None) if self.read(act) else None

    def kept(self, name: str) -> tuple[Mapping[str, Tensor], dict[str, Any]] | None:
        """What `RunFolder.keep` saved, if that came to its end."""
        held: list[dict[str, Tensor]] = []

        def act(folder: RunFolder) -> dict[str, Any] | None:
            found = folder.kept(name)
            if found is None:
                return None
            held.append(found[0])
            return found[1]

        facts = self.read(act)
        if facts is None:
            return None
        return (held[0] if self.ranks.size == 1 else Sent(self.ranks, held[0] if held else None)), facts

    def keep(self, name: str, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> None:
        """As `RunFolder.keep`; what is written, the others do not wait for."""
        if self.folder is not None:
            self.folder.keep(name, tensors, facts)

    def append(self, record: Record, examples: list[dict[str, Any]]) -> None:
        if self.folder is not None:
            self.folder.append(record, examples)

    def checkpoint(self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: dict[str, Any]) -> None:
        if self.folder is not None:
            self.folder.checkpoint(step, tensors, state)

    def finish(self, last: Record) -> None:
        if self.folder is not None:
            self.folder.finish({"score": last.eval_score, "samples": last.samples, "tokens": last.tokens, "steps": last.step})

    def fail(self, kind: Failure, error: str) -> None:
        if self.folder is not None:
            self.folder.fail(kind, error)


@contextmanager
def opened(store: RunStore, spec: RunSpec, provenance: dict[str, Any], ranks: Ranks) -> Iterator[SharedFolder]:
    """The run's folder, open in the first process. Raises StoreError, where the store refuses it."""
    held: list[RunFolder] = []
    ranks.does(lambda: held.append(store.open(spec, provenance)))
    try:
        yield SharedFolder(ranks, store.folder(spec), held[0] if held else None)
    finally:
        for folder in held:
            folder.close()
