"""How many processes run at a time, and what each may use of the machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import ConfigError
from bench.sweep.jobs import Job


@dataclass(frozen=True)
class Slot:
    """Room for one process."""

    full: bool  # for models of the full tier; else for what runs on one core
    gpu: str | None = None  # the device it sees, by what CUDA_VISIBLE_DEVICES calls it
    threads: int = 1

    def environment(self) -> dict[str, str]:
        """What a process in it is started with: small matrices gain nothing from a second thread, and several processes would quarrel."""
        return {"OMP_NUM_THREADS": str(self.threads), "CUDA_VISIBLE_DEVICES": self.gpu or "", "TOKENIZERS_PARALLELISM": "false"}


def slots(jobs: Sequence[Job], workers: int) -> list[Slot]:
    """`workers` slots of each kind that the jobs need, or with 0 as many as the machine has: one for each GPU where models of the full tier
    are trained, and one for each core that is left for other jobs; never more than jobs. Raises ConfigError for a number below 0.
    """
    if workers < 0:
        raise ConfigError(f"--workers is {workers}; it must be 1 or more, or 0 for what the machine has")
    large, cores = sum(job.gpu for job in jobs), usable_cores()
    found: list[Slot] = []
    if large:
        devices = gpus()
        count = min(workers or len(devices) or 1, large)  # without a GPU one after the other, each with every core
        found += [Slot(True, devices[i % len(devices)] if devices else None, max(1, cores // count)) for i in range(count)]
    small = min(workers or max(1, cores - len(found)), len(jobs) - large)
    return found + [Slot(False)] * small


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs there are, by the names that CUDA_VISIBLE_DEVICES takes."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [str(i) for i in range(count)] if visible is None else [name for name in visible.split(",") if name.strip()][:count]
