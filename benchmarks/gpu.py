"""Measures language models of real shape on this machine's GPU and writes $OUT/gpu.json (./out without OUT).

    make gpu
    python benchmarks/gpu.py --small                 # the same path on the CPU with small numbers, to see that it runs
    python benchmarks/gpu.py --sections sampling,step --minutes 4

Sampling, training and a whole GRPO step with a model of Qwen2.5-0.5B's shape and random weights (vocabulary 151,936, bfloat16 arithmetic),
the memory of log-probabilities, TRL's trainer beside ours where trl is installed, the shipped tiny base, and what the tiny board costs on
this machine's cores. No hub is needed. Each section is a process of its own; one that fails is recorded with its error, and the next goes
on. The file is written anew after each, and none begins once the minutes are used up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
SECTIONS = ("sampling", "step", "training", "logp_memory", "tiny_base", "trl", "board")
LEAST = 15.0  # seconds below which a section is not begun


def section(name: str, sizes: dict[str, Any]) -> dict[str, Any]:
    """The figures of one section, worked out here."""
    if name == "board":
        import gpu_board

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return gpu_board.side_by_side(sizes["board_seeds"] or cores, sizes["board_samples"])
    import gpu_sections

    found: dict[str, Any] = getattr(gpu_sections, name)(sizes)
    return found


def isolated(name: str, options: list[str], seconds: float) -> dict[str, Any]:
    """A section in a process of its own, with its wall time; its error where it fails or outstays its time."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(HERE / "gpu.py"), "--one", name, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # with the processes that it started itself
        process.communicate()
        return {"error": f"stopped after {seconds:.0f} s: no time was left", "section_seconds": time.perf_counter() - began}
    if process.returncode:
        found = {"error": (error.strip() or f"exit status {process.returncode}")[-1500:]}
    else:
        found = json.loads(out.splitlines()[-1])
    return found | {"section_seconds": time.perf_counter() - began}


def machine() -> dict[str, Any]:
    """Versions, and the GPU by name and memory."""
    import torch

    from bench.provenance import provenance

    found = provenance()
    if torch.cuda.is_available():
        of = torch.cuda.get_device_properties(0)
        found["gpu"] = {
            "name": of.name,
            "memory_bytes": of.total_memory,
            "capability": f"{of.major}.{of.minor}",
            "cuda": torch.version.cuda,
        }
    return found


def main() -> None:
    """Prints and writes the figures. Ends with status 1 where a section failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small numbers on the CPU")
    parser.add_argument("--minutes", type=float, default=9.0, help="of wall time for all sections together")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="which, and in what order")
    parser.add_argument("--trl", default="", metavar="PYTHON", help="an interpreter that has trl; without it, this one is tried")
    parser.add_argument("--one", choices=SECTIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        import gpu_parts

        sizes = (gpu_parts.SMALL if arguments.small else gpu_parts.FULL) | {"trl_python": arguments.trl}
        print(json.dumps(section(arguments.one, sizes)))
        return
    asked = [name for name in arguments.sections.split(",") if name]
    if unknown := [name for name in asked if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    found: dict[str, Any] = {"machine": machine(), "small": arguments.small}
    if not arguments.small and "gpu" not in found["machine"]:
        raise SystemExit("no CUDA device; --small runs the same path on the CPU")
    options = [*(["--small"] if arguments.small else []), *(["--trl", arguments.trl] if arguments.trl else [])]
    until = time.perf_counter() + 60 * arguments.minutes
    out = Path(os.environ.get("OUT", "out")) / "gpu.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in asked:
        left = until - time.perf_counter()
        found[name] = isolated(name, options, left) if left > LEAST else {"error": "left out: the minutes were used up"}
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    print(out)
    if any("error" in found[name] for name in asked):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
