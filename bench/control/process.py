"""What this process is set to while small networks are trained in it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def made_small() -> Iterator[None]:
    """Sets this process up for small tensors: one thread, no slow arithmetic on numbers next to nothing, and freed memory kept."""
    threads, denormal = torch.get_num_threads(), bool(torch.tensor(1e-40) * 1 > 0)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD: giving pages back and fetching them anew costs more than a product
        libc.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, at its largest; else each larger tensor has pages of its own
    except (OSError, AttributeError):  # another C library
        pass
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(not denormal)
