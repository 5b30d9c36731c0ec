"""Whether a launcher started this process as one of several. Without torch, so that every command may ask."""

from __future__ import annotations

import os
from collections.abc import Mapping

from bench.errors import ConfigError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")  # torchrun and `accelerate launch` both set them


def launched(environment: Mapping[str, str] = os.environ) -> tuple[int, int, int]:
    """Rank, number of processes and rank on this machine; (0, 1, 0) where there was no launcher, or it started one process.

    Raises ConfigError for values that cannot be.
    """
    given = {name: environment[name] for name in VARIABLES if name in environment}
    if len(given) < len(VARIABLES):
        return 0, 1, 0
    shown = ", ".join(f"{name}={value}" for name, value in given.items())
    if not all(value.isdecimal() for value in given.values()) or not int(given["RANK"]) < int(given["WORLD_SIZE"]):
        raise ConfigError(f"{shown}: this is no place among processes; start with torchrun or accelerate launch, or unset all three")
    rank, size, local = (int(given[name]) for name in VARIABLES)
    return (rank, size, local) if size > 1 else (0, 1, 0)


def alone(command: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError where several processes were started for something that is done by one."""
    _, size, _ = launched(environment)
    if size > 1:
        raise ConfigError(
            f"{command} is done by one process, and a launcher started {size}: leave torchrun or accelerate launch out. "
            "They are for `bench run` and `bench resume` on text; many runs side by side are a `bench sweep`"
        )
