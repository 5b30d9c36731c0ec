"""Files that survive what happens to them: durable writes, lines that may be torn, and a lock that dies with its process."""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.errors import BusyError, StoreError

PACKED = ".gz"  # ends the name of a compressed file
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_held: set[int] = set()


def _forget_locks() -> None:
    """A forked child would keep its parent's locks alive after the parent was killed."""
    for number in _held:
        with suppress(OSError):
            os.close(number)
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces: equal data, equal bytes. Raises ValueError for NaN and infinity."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turns an OSError of the block into a StoreError that names the path and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            remedy = "free some space, then give the same command: the run continues from its last checkpoint"
        elif error.errno in _CLOSED:
            remedy = "make it writable or choose another folder; the same command continues from the last checkpoint"
        else:
            remedy = "once that is mended, the same command continues from the last checkpoint"
        raise StoreError(f"cannot write {error.filename or path}: {error.strerror or error}; {remedy}") from error


def sync(path: Path) -> None:
    """Forces a file or folder to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write(path: Path, text: str) -> None:
    """A new file, on the disk when this returns."""
    with path.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, text: str) -> None:
    """The file as a whole or as it was before, whatever happens meanwhile."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary, text)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def append(path: Path, text: str) -> None:
    """All of `text` at the file's end, or none of it where the write fails."""
    with path.open("ab", buffering=0) as file:
        before, data = file.tell(), memoryview(text.encode())
        try:
            while data:
                data = data[file.write(data) or 0 :]
        except BaseException:
            with suppress(OSError):
                file.truncate(before)
            raise


def content(path: Path) -> bytes:
    """What a file holds, or what `<its name>.gz` does; nothing where neither is there. Raises StoreError for one that cannot be read."""
    packed = path.with_name(path.name + PACKED)
    try:
        return path.read_bytes() if path.exists() or not packed.exists() else gzip.decompress(packed.read_bytes())
    except FileNotFoundError:
        return b""
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}; make it readable, or restore it") from error


def lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file, one a line, packed or not; a last line torn by a crash is ignored.

    Raises StoreError naming file and line for corruption before that, and for a file that cannot be read.
    """
    parts = content(path).split(b"\n")[:-1]
    found: list[dict[str, Any]] = []
    for number, part in enumerate(parts, start=1):
        try:
            value = dict(json.loads(part))
        except (ValueError, TypeError) as error:
            if number == len(parts):
                break
            raise StoreError(f"{path} line {number} is corrupt ({error}); restore the file, or remove its folder and run again") from error
        found.append(value)
    return found


def drop_torn_tail(path: Path) -> None:
    """Cuts the file back to its last complete line."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)


class Lock:
    """An exclusive lock on a folder's `lock` file. The system releases it when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Raises BusyError, naming the holder, where another process has it."""
        self._number = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        for attempt in range(10):
            try:
                fcntl.flock(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:  # a reader that only looks holds it for a moment
                if attempt == 9:
                    holder = os.pread(self._number, 200, 0).decode(errors="replace").strip() or "another process"
                    os.close(self._number)
                    message = f"run {folder.name} is being written by {holder}; wait for it or choose another seed"
                    raise BusyError(message) from None
                time.sleep(0.03)
        _held.add(self._number)
        os.ftruncate(self._number, 0)
        os.pwrite(self._number, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        if self._number in _held:
            _held.discard(self._number)
            os.close(self._number)


def locked(folder: Path) -> bool:
    """Whether some process holds the folder's lock; False where that cannot be told."""
    try:
        number = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(number)
    return False
