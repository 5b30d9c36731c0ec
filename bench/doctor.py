"""What this machine has and lacks for a run, each lack with its remedy. A missing piece is a finding, never an error."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Literal
from urllib.parse import urlsplit

from bench import __version__, registry
from bench.errors import BenchError, ConfigError
from bench.models import BASES

State = Literal["ok", "missing", "note"]
Probe = Callable[[], "Iterator[Finding]"]

DISTRIBUTION = "rl-bench-suite"
CORE = (
    *("torch", "transformers", "tokenizers", "safetensors", "gymnasium"),
    *("numpy", "scipy", "pandas", "orjson", "matplotlib", "seaborn", "typer", "rich"),
)
EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {  # extra: the modules it brings, and what they are for
    "full": (("datasets",), "data sets of the full tier"),
    "vllm": (("vllm",), "fast sampling on a GPU"),
    "lora": (("peft",), "training adapters instead of all weights"),
    "optim": (("bitsandbytes",), "8-bit and paged optimizer states"),
    "mujoco": (("mujoco",), "MuJoCo tasks"),
    "box2d": (("Box2D",), "Box2D tasks"),
    "offline": (("minari",), "logged data sets"),
    "math": (("math_verify",), "comparison of mathematical expressions"),
    "rg": (("reasoning_gym",), "reasoning-gym's tasks"),
    "track": (("tensorboard", "wandb"), "experiment trackers, and logs of TensorBoard"),
    "trackio": (("trackio",), "another tracker"),
    "ray": (("ray",), "sweeps over several machines"),
}
HUB_SECONDS = 2.0
ROOM = 2**30  # bytes free below which disk space is noted


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it stands, what was found, and what to do about it (empty where nothing need be done)."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def report(results: Path = Path("results")) -> list[Finding]:
    """Every finding, in a fixed order; `results` is the folder whose disk is looked at. Never raises; takes seconds (it imports torch)."""
    probes = (_python, _packages, _own_packages, _torch, _gpu, _hub, partial(_disk, results), _bases, _extras)
    return [finding for probe in probes for finding in _guarded(probe)]


def pip_line(requirement: str) -> str:
    """The command that installs it in the versions the tests run with."""
    return f'pip install -c constraints.txt "{requirement}"'


def _guarded(probe: Probe) -> list[Finding]:
    try:
        return list(probe())
    except Exception as error:  # a broken driver may raise anything, and the other findings matter the more then
        name = getattr(probe, "__name__", "disk").removeprefix("_")
        return [Finding(name, "missing", f"{type(error).__name__}: {error}", "mend or reinstall what the message names")]


def _python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("bench", "ok", __version__)


def _packages() -> Iterator[Finding]:
    for package in CORE:
        found = _version(package)
        if found is None:
            yield Finding(package, "missing", "not installed", pip_line(DISTRIBUTION))
        else:
            yield Finding(package, "ok", found)


def _own_packages() -> Iterator[Finding]:
    """Other distributions install packages called `tasks` and `algorithms` too; one that is found first hides ours."""
    try:
        counts = {kind: len(registry.names(kind)) for kind in registry.KINDS}
    except ConfigError as error:
        yield Finding("own packages", "missing", str(error), "see the message")
    else:
        yield Finding("own packages", "ok", ", ".join(f"{count} {kind}" for kind, count in counts.items()))


def _torch() -> Iterator[Finding]:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}" if torch.version.hip else "CPU"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    detail = f"{build} build, {threads} threads on {cores} cores"
    if threads > cores:
        yield Finding("torch build", "note", detail, f"set OMP_NUM_THREADS={cores}; more threads than cores slow each other down")
    else:
        yield Finding("torch build", "ok", detail)


def _gpu() -> Iterator[Finding]:
    import torch

    if not torch.cuda.is_available():
        yield Finding(
            "GPU", "note", "none that torch can use", "the tiny tier needs none; the full tier wants one and a CUDA build of torch"
        )
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        yield Finding(f"GPU {number}", "ok", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")


def _hub() -> Iterator[Finding]:
    offline = next((name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if _true(os.environ.get(name, ""))), None)
    address = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if offline is not None:
        yield Finding(
            "Hugging Face hub", "note", f"not asked: {offline} is set", f"unset {offline} to download; the tiny tier needs no hub"
        )
    elif _reachable(address.hostname or "", address.port or 443, HUB_SECONDS):
        yield Finding("Hugging Face hub", "ok", f"{address.hostname} answers")
    else:
        yield Finding(
            "Hugging Face hub",
            "note",
            f"no direct connection to {address.hostname} within {HUB_SECONDS:.0f} s",
            "the tiny tier needs no hub; full takes local folders",
        )


def _true(value: str) -> bool:
    return value.strip().lower() in ("1", "true", "yes", "on")


def _reachable(host: str, port: int, seconds: float) -> bool:
    """Whether a connection opens in time. A thread asks, as looking up a name knows no time limit."""
    opened: list[bool] = []

    def ask() -> None:
        with suppress(OSError), socket.create_connection((host, port), seconds):
            opened.append(True)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(opened)


def _disk(results: Path) -> Iterator[Finding]:
    folder = next(path for path in (results.absolute(), *results.absolute().parents) if path.is_dir())
    free, detail = shutil.disk_usage(folder).free, f"{shutil.disk_usage(folder).free / 1e9:.1f} GB free for {results}"
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("results folder", "missing", f"{folder} is not writable", "make it writable or choose another --results")
    elif free < ROOM:
        yield Finding("results folder", "note", detail, "free some space or choose another --results")
    else:
        yield Finding("results folder", "ok", detail)


def _bases() -> Iterator[Finding]:
    """The start checkpoint of each task with a tiny tier."""
    for name in registry.names("tasks"):
        try:
            tiny = "tiny" in registry.load("tasks", name).tiers
        except BenchError as error:
            yield Finding(f"task {name}", "missing", str(error), "see the message")
            continue
        if tiny and any((BASES / name).glob("*.safetensors")):
            yield Finding(f"base model {name}", "ok", str(BASES / name))
        elif tiny:
            yield Finding(f"base model {name}", "missing", f"no weights in {BASES / name}", f"bench pretrain {name}")


def _extras() -> Iterator[Finding]:
    for extra, (modules, purpose) in EXTRAS.items():
        absent = [module for module in modules if find_spec(module) is None]
        if absent:
            detail = f"{', '.join(absent)} not installed; for {purpose}"
            yield Finding(f"extra {extra}", "note", detail, pip_line(f"{DISTRIBUTION}[{extra}]"))
        else:
            yield Finding(f"extra {extra}", "ok", ", ".join(f"{module} {_version(module) or ''}".strip() for module in modules))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
