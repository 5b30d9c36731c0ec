"""Small sweeps: what the tests of sweeps share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.store import RunStore
from bench.sweep.cells import Cell, cells
from bench.sweep.events import Event
from bench.sweep.jobs import Job, jobs
from bench.sweep.local import LocalCrew
from bench.sweep.plan import plans
from bench.sweep.run import sweep
from bench.sweep.slots import Slot
from bench.sweep.tally import Tally

HOME = Path(__file__).resolve().parents[1]
QUICK = ("train.prompts=4", "train.completions=4", "train.eval_problems=4", "train.eval_completions=2", "train.eval_points=4")
ASKED: dict[str, Any] = {"algo": "gspo,grpo", "task": "last_digit", "seeds": "0..1", "budget": 160, "set": QUICK, "tier": "tiny"}


def planned(**other: Any) -> list[Job]:
    """The jobs of a small sweep."""
    return jobs(each for each in cells(plans(ASKED | other)) if isinstance(each, Cell))


class Heard:
    """A screen that remembers, and may do something where it hears of something."""

    def __init__(self, tally: Tally, act: Callable[[Event], None] | None = None) -> None:
        self.tally, self.act, self.events = tally, act, list[Event]()

    def hear(self, event: Event) -> None:
        self.tally.hear(event)
        self.events.append(event)
        if self.act is not None:
            self.act(event)

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *ended: object) -> None:
        return None

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


def swept(found: Sequence[Job], root: Path, workers: int = 1, act: Callable[[Event], None] | None = None, reserve: int = 0) -> Heard:
    """Run a sweep in processes of its own, to its end."""
    store = RunStore(root, reserve)
    tally = Tally(found, store)
    heard = Heard(tally, act)
    sweep(found, store, lambda left: LocalCrew([Slot(False)] * workers, store), tally, heard)
    return heard


def content(root: Path) -> dict[str, tuple[bytes, ...]]:
    """What must repeat byte for byte of every run that is finished, by its id."""
    folders = [path.parent for path in sorted(root.glob("*/*/*/done.json"))]
    names = ("curve.jsonl", "items.jsonl", "samples.jsonl", "checkpoint/*/model.safetensors")
    return {folder.name: tuple(path.read_bytes() for name in names for path in sorted(folder.glob(name))) for folder in folders}


def starts(root: Path) -> dict[str, int]:
    """How often each run was begun or taken up."""
    held = {path.parent.name: json.loads(path.read_text()) for path in root.glob("*/*/*/spec.json")}
    return {run: 1 + len(facts.get("resumed", [])) for run, facts in held.items()}


def started(root: Path, *more: str) -> subprocess.Popen[str]:
    """`bench sweep` as a process, printing JSON lines."""
    asked = [
        "--algo",
        ASKED["algo"],
        "--task",
        ASKED["task"],
        "--seeds",
        ASKED["seeds"],
        "--tier",
        "tiny",
        "--budget",
        str(ASKED["budget"]),
    ]
    asked += [part for setting in QUICK for part in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "sweep", *asked, "--workers", "1", "--json", "--results", str(root), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HOME)},
        preexec_fn=_as_in_a_terminal,
    )


def _as_in_a_terminal() -> None:
    """Where the tests run in the background, Ctrl-C is ignored, and children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def children(pid: int) -> set[int]:
    """Processes that a process has started, and those they have."""
    found: dict[int, set[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        found.setdefault(int(text.rpartition(")")[2].split()[1]), set()).add(int(path.parent.name))
    own = found.get(pid, set())
    return own | {below for each in own for below in children(each)}


def alive(pids: set[int]) -> set[int]:
    """Those that are still at work."""
    return {pid for pid in pids if _state(pid) not in ("", "Z", "X")}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
