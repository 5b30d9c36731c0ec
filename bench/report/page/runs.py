"""Every run as one line of a table that the page's scripts sort, filter and put on the page a slice at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.board.groups import Board, Entry
from bench.report.data import Report
from bench.report.page.elements import Html, element
from bench.report.page.entries import Listed
from bench.trials import Trial


@dataclass(frozen=True)
class Column:
    """One place of a run's line."""

    name: str
    kind: Literal["text", "number", "entry", "board"] = "number"
    exact: bool = False  # a number that is never shortened


COLUMNS = (
    Column("run", "text"),
    Column("board", "board"),
    Column("entry", "entry"),
    Column("seed", exact=True),
    Column("state", "text"),
    Column("score"),
    Column("spent"),
    Column("tokens"),
    Column("updates"),
    Column("CPU-seconds"),
    Column("wall seconds"),
    Column("what is wrong", "text"),
)
FILTERS = ("board", "entry", "state")


@dataclass(frozen=True)
class Runs:
    """Lines in the order of COLUMNS, and for each what only an opened line shows: seed option, machine, folder."""

    rows: list[list[Any]]
    extras: list[dict[str, Any]]
    provenance: list[str]
    states: list[str]


def runs(report: Report, listed: Sequence[Listed]) -> Runs:
    """Every run of every board, the broken ones included."""
    places = {(one.board.name, one.entry.key): i for i, one in enumerate(listed) if one.entry is not None and one.board is not None}
    unread = {one.label: i for i, one in enumerate(listed) if one.entry is None}
    rows, extras, known, met = list[list[Any]](), list[dict[str, Any]](), dict[str, int](), set[Any]()
    for number, board in enumerate(report.boards):
        held = [(trial, places[board.name, entry.key]) for entry in board.entries for trial in _all(entry)]
        held += [(trial, unread[trial.algorithm]) for trial in board.broken if trial.folder not in met]  # a table may have several boards
        met |= {trial.folder for trial in board.broken}
        for trial, place in held:
            rows.append([trial.run_id, number, place, *_values(trial, board)])
            text = machine(trial.provenance)
            ran = known.setdefault(text, len(known)) if text else None
            extras.append({"seeds": _seeds(trial), "ran": ran, "folder": "/".join(trial.folder.parts[-3:])})
    return Runs(rows, extras, list(known), sorted({row[4] for row in rows}))


def _all(entry: Entry) -> list[Trial]:
    return sorted((*entry.trials, *entry.left_out), key=lambda trial: (trial.seed, trial.run_id))


def _values(trial: Trial, board: Board) -> list[Any]:
    floor = 0.0 if trial.diverged and board.scaled else trial.last("eval_score")
    numbers = [floor, *(trial.last(name) for name in ("samples", "tokens", "updates", "cpu_seconds", "seconds"))]
    seed = None if trial.state == "broken" else trial.seed
    state = "diverged" if trial.diverged else trial.state
    return [seed, state, *(None if math.isnan(value) else float(f"{value:.6g}") for value in numbers), trial.fault or ""]


def _seeds(trial: Trial) -> str:
    together = [trial.provenance, *trial.provenance.get("resumed", [])][-1].get("seeds_together") or []
    return f"--seeds {ranges(together)}" if len(together) > 1 else f"--seed {trial.seed}"


def ranges(seeds: Sequence[int]) -> str:
    """0, 1, 2, 5 as 0..2,5."""
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}..{part[-1]}" for part in parts)


def machine(provenance: Mapping[str, Any]) -> str:
    """On what a run was made, in a line; empty where nobody wrote it down."""
    return ", ".join(part for part in (version(provenance), platform(provenance)) if part)


def version(provenance: Mapping[str, Any]) -> str:
    """This package's version and commit."""
    if "bench" not in provenance:
        return ""
    revision, changed = provenance.get("revision"), " with changes" if provenance.get("dirty") else ""
    return f"bench {provenance['bench']}" + (f" at {revision[:8]}{changed}" if revision else "")


def platform(provenance: Mapping[str, Any]) -> str:
    """Libraries and machine."""
    packages, threads = provenance.get("packages") or {}, provenance.get("threads")
    parts = [
        f"Python {provenance['python']}" if "python" in provenance else "",
        *(f"{name} {packages[name]}" for name in ("torch", "transformers", "gymnasium") if name in packages),
        str(provenance.get("cpu", "")),
        ", ".join(provenance.get("gpus") or []),
        f"{threads} thread{'' if threads == 1 else 's'}" if threads else "",
    ]
    return ", ".join(part for part in parts if part)


def section(found: Runs, report: Report, listed: Sequence[Listed]) -> Html:
    """The empty table with its filters."""
    options = {"board": [b.name for b in report.boards], "entry": sorted({one.label for one in listed}), "state": found.states}
    names = [column.name for column in COLUMNS]
    chosen = [
        element(
            "label",
            element("span", name.capitalize()),
            element(
                "select", element("option", "all", value=""), [element("option", o) for o in options[name]], data_column=names.index(name)
            ),
        )
        for name in FILTERS
    ]
    search = element(
        "label", element("span", "Any of the words of a line"), element("input", type="search", placeholder="grpo failed 3f2a")
    )
    heads = [
        element(
            "th",
            element("button", column.name, type="button", class_="sort"),
            scope="col",
            class_="n" if column.kind == "number" else None,
            data_column=i,
        )
        for i, column in enumerate(COLUMNS)
    ]
    table = element("table", element("thead", element("tr", heads)), element("tbody"), aria_label="Every run")
    return element(
        "section",
        element("h2", "Every run"),
        element(
            "p", "Each line opens to all settings and the command that repeats the run. The same lines are in runs.csv.", class_="soft"
        ),
        element("div", search, chosen, class_="controls"),
        element("p", class_="soft", aria_live="polite"),
        element("div", table, class_="scroll tall", tabindex="0", role="region", aria_label="Every run"),
        element("noscript", element("p", "This table is filled by scripts; runs.csv beside this page has its lines.")),
        id="runs",
    )
