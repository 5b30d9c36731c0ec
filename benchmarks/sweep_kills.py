"""Kills sweeps and their workers with SIGKILL at random moments, and compares every finished curve with that of a sweep left in peace.

    python benchmarks/sweep_kills.py --kills 60
    python benchmarks/sweep_kills.py --full          as root: the results folder on a disk of its own, which fills up again and again

Each round starts the same command; after a random delay it kills the command itself or one of the processes below it, each as likely, until
all cells are finished. It then starts anew with other seeds. Checked at the end of each sweep: curves, scores of items, samples and final
weights are the same bytes, no process is left, no cell is missing or there twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SETTINGS = ("train.prompts=8", "train.completions=4", "train.eval_problems=16", "train.eval_completions=2", "train.eval_points=4")
FILES = ("curve.jsonl", "items.jsonl", "samples.jsonl", "checkpoint/*/model.safetensors")
SEEDS, ALGORITHMS, BUDGET = 2, ("gspo", "dapo"), 1100


def command(first: int, results: Path) -> list[str]:
    """The sweep, from a first seed on: text, and seeds that train together."""
    asked = ["--algo", ",".join((*ALGORITHMS, "dqn")), "--task", "last_digit,cartpole", "--tier", "tiny", "--workers", "2", "--json"]
    asked += ["--seeds", f"{first}..{first + SEEDS - 1}", "--results", str(results)]
    own = [f"last_digit:{setting}" for setting in SETTINGS] + ["cartpole:train.hidden=16"]
    return [sys.executable, "-m", "bench", "sweep", *asked, "--budget", str(BUDGET), *(part for each in own for part in ("--set", each))]


def started(first: int, results: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(first, results), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def content(results: Path) -> dict[str, list[bytes]]:
    """What must repeat byte for byte, by run. Seeds that were trained together without interruption or with one are the same, too."""
    folders = sorted(path.parent for path in results.glob("*/*/*/done.json"))
    return {folder.name: [path.read_bytes() for name in FILES for path in sorted(folder.glob(name))] for folder in folders}


def below(pid: int) -> set[int]:
    """The processes that a process has started, and theirs."""
    parents: dict[int, set[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), set()).add(int(path.parent.name))
        except OSError:
            continue
    own = parents.get(pid, set())
    return own.union(*(below(each) for each in own)) if own else own


def at_work(pids: set[int]) -> set[int]:
    """Those that have not ended after three seconds."""
    until = time.monotonic() + 3
    while True:
        left = {pid for pid in pids if _state(pid) not in ("", "Z")}
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def disturbed(first: int, results: Path, most: int, longest: float, chance: random.Random) -> dict[str, int]:
    """Start, kill something at a random moment, start again where it was the sweep itself, until all is finished; what was killed."""
    killed = {"sweep": 0, "worker": 0}
    process, seen = started(first, results), set[int]()
    while True:
        try:
            _, errors = process.communicate(timeout=chance.uniform(0.0, longest / 2))
        except subprocess.TimeoutExpired:
            workers = below(process.pid)
            seen |= workers
            if sum(killed.values()) >= most:
                continue
            whom = "worker" if workers and chance.random() < 0.5 else "sweep"
            killed[whom] += 1
            os.kill(chance.choice(sorted(workers)) if whom == "worker" else process.pid, signal.SIGKILL)
            if whom == "sweep":
                process.communicate()
                left = at_work(workers)
                if left:
                    raise SystemExit(f"processes {left} outlived their sweep") from None
                process = started(first, results)
            continue
        if process.returncode == 1 and sum(killed.values()) < 2 * most:  # a cell was killed twice, and is failed until the next time
            process = started(first, results)
            continue
        if process.returncode:
            raise SystemExit(f"seeds from {first}: {errors.decode().strip()}")
        if at_work(seen):
            raise SystemExit(f"processes {at_work(seen)} outlived their sweep")
        return killed


def compare(first: int, whole: Path, broken: Path) -> bool:
    """Whether every cell is there once, with the same bytes."""
    one, other = content(whole), content(broken)
    expected = SEEDS * (2 * len(ALGORITHMS) + 1)
    ids = [json.loads(path.read_text())["run_id"] for path in broken.glob("*/*/*/spec.json")]
    return len(one) == expected and one == other and sorted(ids) == sorted(one)


@contextmanager
def disk(size: int, folder: Path) -> Iterator[Path]:
    """A file system in memory of so many bytes."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def full(first: int, folder: Path) -> bool:
    """Fill the disk up to a random remainder while a sweep is at it, free it, go on: the same bytes as with room enough."""
    whole, chance, fails = folder / "whole", random.Random("full"), 0
    began = time.monotonic()
    started(first, whole).communicate()
    longest = time.monotonic() - began
    with disk(400 * 2**20, folder / "disk") as place:
        ballast = place / "ballast"
        while True:
            process = started(first, place / "results")
            time.sleep(longest * chance.uniform(0.2, 0.6))
            free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
            with suppress(OSError):  # the sweep took what was left meanwhile
                ballast.write_bytes(bytes(max(0, free - chance.randrange(20_000))))
            process.communicate()
            ballast.unlink()
            if process.returncode == 0:
                break
            fails += 1
        same = compare(first, whole, place / "results")
    print(f"the disk was full {fails} times; {'the same bytes' if same else 'DIFFERENT'}", flush=True)
    return same and fails > 0


def main() -> None:
    """Prints a line for each sweep; exit code 1 where a curve differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", default="sweep kills", help="of the moments")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    chance, kills, sweeps, same = random.Random(arguments.seed), 0, 0, True
    while kills < arguments.kills or arguments.full:
        first = sweeps * SEEDS
        with tempfile.TemporaryDirectory() as folder:
            if arguments.full:
                sys.exit(not full(first, Path(folder)))
            began = time.monotonic()
            started(first, Path(folder) / "whole").communicate()
            longest = time.monotonic() - began
            killed = disturbed(first, Path(folder) / "broken", arguments.kills - kills, longest, chance)
            equal = compare(first, Path(folder) / "whole", Path(folder) / "broken")
        same, kills, sweeps = same and equal, kills + sum(killed.values()), sweeps + 1
        told = f"seeds from {first}: {killed['sweep']} kills of the sweep, {killed['worker']} below it"
        print(f"{told}; {'same bytes' if equal else 'DIFFERENT'}", flush=True)
    print(f"{kills} kills over {sweeps} sweeps: {'every finished run is that of a sweep left in peace' if same else 'a run differs'}")
    sys.exit(not same)


if __name__ == "__main__":
    main()
