"""Kills a run with SIGKILL at random moments, a hundred times by default, and compares each finished curve with the uninterrupted one.

    python benchmarks/kills.py --kills 100
    python benchmarks/kills.py --kills 20 --run replay      DQN on Gymnasium, three seeds together; also segments, episodes and log

Kills of one run go on until it finishes; then another seed's run begins. The
final networks are compared too. The delays are drawn so that they fall anywhere: while Python
starts, while the model loads, in mid-write, in mid-checkpoint.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = {  # what is run, and the seeds of a run, which are trained together where there are several
    "text": (
        "--algo dapo --task last_digit --tier tiny --set algo.surplus=carry --set algo.kl=0.01 --budget 4096 --set train.eval_problems=64",
        1,
    ),
    "segments": ("--algo ppo --task cartpole --budget 40000", 3),
    "episodes": ("--algo grpo --task cartpole --budget 60000", 3),
    "replay": ("--algo dqn --task cartpole --budget 6000 --set train.hidden=32|32", 3),
    "log": ("--algo cql --task pendulum_logged --budget 400 --set train.hidden=32|32", 3),
}
FILES = ("curve.jsonl", "samples.jsonl", "checkpoint/*/model.safetensors")


def command(kind: str, first: int, results: Path) -> list[str]:
    """The run, from a first seed on."""
    asked, seeds = RUNS[kind]
    return [
        sys.executable,
        "-m",
        "bench",
        "run",
        *asked.split(),
        "--json",
        "--seeds",
        f"{first}..{first + seeds - 1}",
        "--results",
        str(results),
    ]


def finish(kind: str, first: int, results: Path) -> float:
    """Run to the end; the seconds it took."""
    began = time.perf_counter()
    subprocess.run(command(kind, first, results), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def content(kind: str, results: Path) -> list[bytes]:
    """What must repeat byte for byte."""
    folders = sorted(path.parent for path in results.glob("*/*/*/spec.json"))
    assert len(folders) == RUNS[kind][1] and all((folder / "done.json").exists() for folder in folders)
    return [path.read_bytes() for folder in folders for name in FILES for path in sorted(folder.glob(name))]


def progress(results: Path) -> int:
    """Lines of the curve so far."""
    return sum(path.read_bytes().count(b"\n") for path in results.glob("*/*/*/curve.jsonl"))


def kill_until_done(kind: str, first: int, results: Path, most: int, longest: float, chance: random.Random) -> list[int]:
    """Start, kill after a random delay, start again; returns the length of the curve at each kill."""
    found: list[int] = []
    while len(found) < most:
        process = subprocess.Popen(command(kind, first, results), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate(timeout=chance.uniform(0.0, longest))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            found.append(progress(results))
            continue
        if process.returncode:
            raise SystemExit(f"{kind}, seed {first}: {errors.decode().strip()}")
        break
    return found


def main() -> None:
    """Prints one line per run and the number of kills survived; exit code 1 where a curve differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--run", choices=tuple(RUNS), default="text")
    parser.add_argument("--seed", default="kills", help="of the moments")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    kind, chance, kills, runs, same = arguments.run, random.Random(arguments.seed), 0, 0, True
    while kills < arguments.kills:
        first = runs * RUNS[kind][1]
        with tempfile.TemporaryDirectory() as folder:
            whole, broken = Path(folder) / "whole", Path(folder) / "broken"
            longest = finish(kind, first, whole)
            lengths = kill_until_done(kind, first, broken, arguments.kills - kills, longest, chance)
            finish(kind, first, broken)
            equal = content(kind, whole) == content(kind, broken)
            same, kills = same and equal, kills + len(lengths)
            print(
                f"{kind}, seed {first}: {len(lengths)} kills at curve lengths {lengths}; {'same bytes' if equal else 'DIFFERENT'}",
                flush=True,
            )
        runs += 1
    print(f"{kills} kills over {runs} runs: {'every finished curve is that of the uninterrupted run' if same else 'a curve differs'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
