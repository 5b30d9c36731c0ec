"""Every competitor of every board, with its look, its specification and the command that repeats it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.board.groups import Board, Entry
from bench.errors import ConfigError
from bench.report.data import Report
from bench.report.palette import Look, look, looks

Repeat = Callable[[Mapping[str, Any], str], str]  # the command line of a specification with this run id; raises ConfigError
BROKEN = "Its specification cannot be read, so there is no command to repeat it."
PARTS = {"algorithm": "algo", "task": "task", "sampler": "sampler", "reward": "reward", "model": "model"}


@dataclass(frozen=True)
class Listed:
    """An entry as the page knows it; of runs that cannot be read, their algorithm alone."""

    label: str
    look: Look
    board: Board | None = None
    entry: Entry | None = None
    command: str | None = None  # without the seed
    note: str = BROKEN  # why there is no command

    def facts(self) -> dict[str, Any]:
        """What the scripts get."""
        entry = self.entry
        spec = {} if entry is None else flat((entry.trials or entry.left_out)[0].spec)
        drawn = {"color": self.look.color, "dash": list(self.look.dash), "control": self.look.control}
        return {"label": self.label, **drawn, "spec": spec, "command": self.command, "note": self.note}


Commands = Mapping[tuple[str, str], tuple[str | None, str]]  # by board and key of an entry: the command, or why there is none


def listed(report: Report, known: Commands) -> list[Listed]:
    """The entries of every board, then the algorithms of runs that cannot be read."""
    found = []
    for board in report.boards:
        drawn = looks([(entry.label, entry.algorithm) for entry in board.entries])
        found += [Listed(entry.label, drawn[entry.label], board, entry, *known[board.name, entry.key]) for entry in board.entries]
    broken = sorted({trial.algorithm for board in report.boards for trial in board.broken})
    return [*found, *(Listed(name, look(name)) for name in broken)]


def commands(report: Report, repeat: Repeat) -> Commands:
    """The command of each entry, without the seed."""
    return {(board.name, entry.key): _command(entry, repeat) for board in report.boards for entry in board.entries}


def _command(entry: Entry, repeat: Repeat) -> tuple[str | None, str]:
    trial = (entry.trials or entry.left_out)[0]
    try:
        return repeat(trial.spec, trial.run_id).rpartition(" --seed ")[0], ""
    except ConfigError as error:
        return None, str(error)


def flat(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A specification as `--set` names its parts, without the seed."""
    found: dict[str, Any] = {}
    for name, value in spec.items():
        if name in PARTS and isinstance(value, Mapping):
            found[name] = value.get("name")
            found |= {f"{PARTS[name]}.{key}": held for key, held in (value.get("settings") or {}).items()}
        elif isinstance(value, Mapping):
            found |= {f"{name}.{key}": held for key, held in value.items()}
        elif name != "seed":
            found[name] = value
    return found
