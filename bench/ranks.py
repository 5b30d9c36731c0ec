"""The processes that train one run together: who is who, whose share is which, and how they hear of each other.

Every process runs the same loop on the same data: all chance is seeded by name. Only what is dear is shared out, and gathered again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from bench.errors import ConfigError, PeerError
from bench.launch import launched

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # that one process waits for the others: longer than a rollout batch takes, or a checkpoint's writing


@dataclass(eq=False)
class Ranks:
    """This process's place among those of its run. `open` joins them, and the end of a `with` block leaves them."""

    rank: int = 0
    size: int = 1
    local: int = 0  # rank on this machine: the number of its GPU
    store: Any = None  # torch's key-value store, which all processes see; None for a process alone
    _meshes: dict[str, DeviceMesh] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, environment: Mapping[str, str] = os.environ) -> Ranks:
        """The processes that a launcher started, once all of them are here; a process alone where there was none."""
        rank, size, local = launched(environment)
        if size == 1:
            return ALONE
        from torch.distributed.rendezvous import rendezvous

        backend = "gloo"
        if local < torch.cuda.device_count():
            torch.cuda.set_device(local)
            backend = "cpu:gloo,cuda:nccl"
        store, *_ = next(iter(rendezvous("env://", timeout=PATIENCE)))
        dist.init_process_group(backend, store=_named("group", store), rank=rank, world_size=size, timeout=PATIENCE)
        return cls(rank, size, local, _named("bench", store))

    @property
    def first(self) -> bool:
        """Whether this process reads, writes and shows for all."""
        return self.rank == 0

    def device(self, gpu: bool) -> str:
        """Where this process computes. Raises ConfigError where a machine has fewer GPUs than processes."""
        if gpu and self.size > 1 and self.local >= torch.cuda.device_count():
            there = torch.cuda.device_count()
            raise ConfigError(
                f"process {self.local} of this machine has no GPU of its own: there are {there}; start {there} (--nproc-per-node {there})"
            )
        return "cpu" if not gpu else "cuda" if self.size == 1 else f"cuda:{self.local}"

    def mesh(self, kind: str) -> DeviceMesh:
        """All processes in a row, for sharding on a `kind` of device."""
        from torch.distributed.device_mesh import init_device_mesh

        if kind not in self._meshes:
            self._meshes[kind] = init_device_mesh(kind, (self.size,))
        return self._meshes[kind]

    def share(self, count: int) -> tuple[int, int]:
        """First and number of this process's part of `count` things: neighbours, and nobody has two more than another."""
        first = self.rank * count // self.size
        return first, (self.rank + 1) * count // self.size - first

    def gathered(self, own: Sequence[T]) -> list[T]:
        """What all processes have, in the order of their ranks."""
        if self.size == 1:
            return list(own)
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, list(own))
        return [each for part in found for each in part]

    def agreed(self, value: T) -> T:
        """The first process's value, for all."""
        if self.size == 1:
            return value
        held: list[Any] = [value if self.first else None]
        dist.broadcast_object_list(held, src=0)
        found: T = held[0]
        return found

    def does(self, act: Callable[[], T]) -> T:
        """What the first process gets by doing it. Where it meets an error, the others raise PeerError with its text."""
        if self.size == 1:
            return act()
        if not self.first:
            told: tuple[Any, str | None] = self.agreed((None, None))
            if told[1] is not None:
                raise PeerError(told[1])
            done: T = told[0]
            return done
        try:
            value = act()
        except Exception as error:
            self.agreed((None, f"process 0 of the run: {type(error).__name__}: {error}"))
            raise
        self.agreed((value, None))
        return value

    def summed(self, own: Tensor) -> Tensor:
        """The sum of what all processes have, in the place of `own`; exact where all but one have 0."""
        if self.size > 1:
            dist.all_reduce(own)
        return own

    def sent(self, tensor: Tensor) -> Tensor:
        """The first process's tensor, in the place of the others', which have its shape and type."""
        if self.size > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def same(self, what: str, value: object) -> None:
        """Raises ConfigError where the processes have different values of something that they must share."""
        found = self.gathered([repr(value)])
        odd = next((rank for rank, other in enumerate(found) if other != found[0]), None)
        if odd is not None:
            raise ConfigError(
                f"processes 0 and {odd} of the run differ in {what}: {found[0]} and {found[odd]}; "
                "give all of them the same code, packages and kind of device"
            )

    def close(self) -> None:
        """Leave the others, once all have come here."""
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:  # else the others may be gone, and waiting for them would take for ever: the process is to end
            self.close()


ALONE = Ranks()


def spent(ranks: Ranks, wall: float, cpu: float) -> tuple[float, float]:
    """The same for all: the first process's seconds by the clock, and the CPU seconds of all together."""
    found = ranks.gathered([(wall, cpu)])
    return found[0][0], sum(each for _, each in found)


def _named(name: str, store: Any) -> Any:
    """A corner of the store."""
    return dist.distributed_c10d.PrefixStore(name, store)
