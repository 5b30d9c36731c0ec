"""Kills a run with SIGKILL at random moments, a hundred times by default, and compares each finished curve with the uninterrupted one.

    python benchmarks/kills.py --kills 100

Kills of one run go on until it finishes; then another seed's run begins. The delays are drawn so that they fall anywhere: while Python
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

RUN = ["run", "--algo", "dapo", "--task", "last_digit", "--tier", "tiny", "--json", "--set", "algo.surplus=carry", "--set", "algo.kl=0.01"]
SMALL = ["--budget", "4096", "--set", "train.eval_problems=64"]
FILES = ("curve.jsonl", "samples.jsonl")


def command(seed: int, results: Path) -> list[str]:
    """The run of one seed."""
    return [sys.executable, "-m", "bench", *RUN, *SMALL, "--seed", str(seed), "--results", str(results)]


def finish(seed: int, results: Path) -> float:
    """Run to the end; the seconds it took."""
    began = time.perf_counter()
    subprocess.run(command(seed, results), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def content(results: Path) -> list[bytes]:
    """What must repeat byte for byte."""
    (folder,) = [path.parent for path in results.glob("*/*/*/spec.json")]
    assert (folder / "done.json").exists()
    return [(folder / name).read_bytes() for name in FILES]


def progress(results: Path) -> int:
    """Lines of the curve so far."""
    return sum(path.read_bytes().count(b"\n") for path in results.glob("*/*/*/curve.jsonl"))


def kill_until_done(seed: int, results: Path, most: int, longest: float, chance: random.Random) -> list[int]:
    """Start, kill after a random delay, start again; returns the length of the curve at each kill."""
    found: list[int] = []
    while len(found) < most:
        process = subprocess.Popen(command(seed, results), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate(timeout=chance.uniform(0.0, longest))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            found.append(progress(results))
            continue
        if process.returncode:
            raise SystemExit(f"seed {seed}: {errors.decode().strip()}")
        break
    return found


def main() -> None:
    """Prints one line per run and the number of kills survived; exit code 1 where a curve differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", default="kills", help="of the moments")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    chance, kills, seed, same = random.Random(arguments.seed), 0, 0, True
    while kills < arguments.kills:
        with tempfile.TemporaryDirectory() as folder:
            whole, broken = Path(folder) / "whole", Path(folder) / "broken"
            longest = finish(seed, whole)
            lengths = kill_until_done(seed, broken, arguments.kills - kills, longest, chance)
            finish(seed, broken)
            equal = content(whole) == content(broken)
            same, kills = same and equal, kills + len(lengths)
            print(f"seed {seed}: {len(lengths)} kills at curve lengths {lengths}; {'same bytes' if equal else 'DIFFERENT'}", flush=True)
        seed += 1
    print(f"{kills} kills over {seed} runs: {'every finished curve is that of the uninterrupted run' if same else 'a curve differs'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
