"""The processes that train one run together: who is who, whose share is which, and how they hear of each other.

Every process runs the same loop on the same data: all chance is seeded by name. Only what is dear is shared out, and gathered again.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from bench.errors import BenchError, ConfigError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # that one process waits for the others: longer than a rollout batch takes, or a checkpoint's writing
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")  # which torchrun and `accelerate launch` both set


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, int, int]:
    """Rank, number of processes and rank on this machine, as a launcher set them; (0, 1, 0) where none did.

    Raises ConfigError for values that cannot be.
    """
    given = {name: environment[name] for name in VARIABLES if name in environment}
    if len(given) < len(VARIABLES):
        return 0, 1, 0
    shown = ", ".join(f"{name}={value}" for name, value in given.items())
    if not all(value.isdecimal() for value in given.values()) or not int(given["RANK"]) < int(given["WORLD_SIZE"]):
        raise ConfigError(f"{shown}: these are no places among processes; start with torchrun or accelerate launch, or unset them")
    rank, size, local = (int(given[name]) for name in VARIABLES)
    return rank, size, local


@dataclass(eq=False)
class Ranks:
    """This process's place among those of its run. `open` joins them, and `with` leaves them again."""

    rank: int = 0
    size: int = 1
    local: int = 0  # rank on this machine: the number of its GPU
    gpu: bool = False  # computes on a GPU
    store: Any = None  # torch's key-value store that all processes see; None for a process alone
    _mesh: DeviceMesh | None = field(default=None, repr=False)

    @classmethod
    def alone(cls) -> Ranks:
        """One process, without a word of torch.distributed."""
        return ALONE

    @classmethod
    def open(cls, gpu: bool, environment: Mapping[str, str] = os.environ) -> Ranks:
        """The processes that a launcher started, once all of them are here.

        Raises ConfigError where a machine has fewer GPUs than processes.
        """
        rank, size, local = launched(environment)
        if size == 1:
            return ALONE
        if gpu:
            if local >= torch.cuda.device_count():
                raise ConfigError(
                    f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}; "
                    f"start as many processes here (torchrun --nproc-per-node {torch.cuda.device_count()})"
                )
            torch.cuda.set_device(local)
        from torch.distributed.rendezvous import rendezvous

        store, *_ = next(iter(rendezvous("env://", timeout=PATIENCE)))
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size, timeout=PATIENCE)
        return cls(rank, size, local, gpu, dist.PrefixStore("bench", store))

    @property
    def first(self) -> bool:
        """Whether this process reads and writes for all."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device("cuda", self.local) if self.gpu else torch.device("cpu")

    def mesh(self) -> DeviceMesh:
        """All processes in a row, for sharding; the same object each time."""
        from torch.distributed.device_mesh import init_device_mesh

        if self._mesh is None:
            self._mesh = init_device_mesh(self.device.type, (self.size,))
        return self._mesh

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
        held = [value if self.first else None]
        dist.broadcast_object_list(held, src=0)
        found: Any = held[0]
        return found  # type: ignore[no-any-return]

    def does(self, act: Callable[[], T]) -> T:
        """What the first process gets by doing it, or the error that it meets: of that it is the same for all."""
        if self.size == 1:
            return act()
        found: Any = None
        error: Exception | None = None
        if self.first:
            try:
                found = act()
            except Exception as met:
                error = met
        told = self.agreed((found, None if error is None else _portable(error)))
        if told[1] is not None:
            raise told[1] if error is None else error
        done: Any = told[0]
        return done  # type: ignore[no-any-return]

    def summed(self, own: Tensor) -> Tensor:
        """The sum of what all processes have, the same bits for all; `own` is overwritten. Exact where all but one have 0."""
        if self.size > 1:
            dist.all_reduce(own)
        return own

    def sent(self, tensor: Tensor) -> Tensor:
        """The first process's tensor in the place of the others', which have its shape and type; on the device it comes on."""
        if self.size > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def same(self, what: str, value: object) -> None:
        """Raises ConfigError where the processes have different values of something they must share."""
        found = self.gathered([repr(value)])
        odd = next((rank for rank, other in enumerate(found) if other != found[0]), None)
        if odd is not None:
            raise ConfigError(
                f"process 0 and process {odd} differ in {what}: {found[0]} and {found[odd]}; "
                "start all with one command, on machines with the same code, packages and kind of device"
            )

    def close(self) -> None:
        """Leave the others, once all have come here. After a failure do not call it: end the process instead."""
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()


ALONE = Ranks()


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same and can travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return BenchError(f"{type(error).__name__}: {error}")
    return error
