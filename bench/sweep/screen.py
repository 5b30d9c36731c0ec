"""What a person sees of a sweep on a terminal, and what a log and a machine get."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.sweep.costs import duration
from bench.sweep.events import Event
from bench.sweep.tally import STATES, Known, State, Tally, score

LOOK: dict[State, tuple[str, str, str]] = {  # sign, sign in plain ASCII, style
    "finished": ("●", "#", "green"),
    "running": ("◐", ">", "yellow"),
    "elsewhere": ("◌", "o", "cyan"),
    "waiting": ("·", ".", "dim"),
    "diverged": ("≈", "~", "magenta"),
    "failed": ("×", "x", "bold red"),  # noqa: RUF001
}
SIGNS = 12  # seeds up to which each has a sign of its own


class Screen(Protocol):
    """Something that shows a sweep as it goes."""

    def hear(self, event: Event) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Lines:
    """A line for each run that starts, ends or is put back: for logs, and, as JSON, for machines."""

    def __init__(self, tally: Tally, console: Console, as_json: bool = False) -> None:
        self.tally, self.console, self.as_json = tally, console, as_json

    def hear(self, event: Event) -> None:
        known = self.tally.hear(event)
        if self.as_json:
            who = {"algorithm": known.label, "table": known.spec.table, "seed": known.spec.seed, "run_id": event.run}
            unknown = ("kind", "run", *(() if event.samples else ("samples", "seconds")))
            rest = {name: value for name, value in asdict(event).items() if name not in unknown and value not in ("", None)}
            print(json.dumps({"event": event.kind, **who, **rest}), flush=True)
        elif event.kind != "record":
            count = self.tally.count()
            ended = count["finished"] + count["diverged"] + count["failed"]
            place = f"[{ended:{len(str(len(self.tally.runs)))}d}/{len(self.tally.runs)}]"
            self.console.print(f"{place} {known.title}: {sentence(event, known)}", markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


def sentence(event: Event, known: Known) -> str:
    """What has happened to a run."""
    if event.kind == "finished":
        reached = f", score {score(known.score)}" if known.score is not None else ""
        return f"finished{reached}, {duration(known.seconds)}" + (f"; {event.reason}" if event.reason else "")
    words = {"started": "started", "busy": "another process is at it; looked at again at the end"}
    words |= {"again": f"{event.reason}; it is tried once more", "failed": f"failed: {event.reason}", "diverged": event.reason}
    return words[event.kind]


class Board:
    """A live table of all runs, one sign each, and a line for each that is at work. Failures scroll away above it."""

    def __init__(self, tally: Tally, console: Console, workers: int) -> None:
        self.tally, self.console, self.workers = tally, console, workers
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.picture, vertical_overflow="crop")

    def hear(self, event: Event) -> None:
        known = self.tally.hear(event)
        if event.kind in ("failed", "diverged", "again") or (event.kind == "finished" and event.reason):
            style = LOOK[known.state][2] if event.kind != "again" else "yellow"
            self.console.print(f"[{style}]{escape(known.title)}[/]: {escape(sentence(event, known))}", highlight=False, soft_wrap=True)

    def picture(self) -> RenderableType:
        """What is on the screen now."""
        running = self.tally.of("running")
        shown = running[: max(3, self.console.height // 3)]
        more = [Text(f"  and {len(running) - len(shown)} more", style="dim")] if len(running) > len(shown) else []
        room = self.console.height - len(shown) - len(more) - 7
        return Group(table(self.tally, self.console, room), Text(), *(self._line(known) for known in shown), *more, self._counts())

    def _line(self, known: Known) -> RenderableType:
        line = Table.grid(padding=(0, 1))
        longest = max(len(known.title) for known in self.tally.runs.values()) - len(", seed")
        for width in (min(longest, 44), 24, 5, 12, 18):
            line.add_column(width=width, no_wrap=True, overflow="ellipsis")
        share = min(1.0, known.samples / known.spec.budget)
        left = self.tally.costs.seconds(known.spec, known.samples)
        reached = f"score {score(known.score)}" if known.score is not None else ""
        line.add_row(
            known.title.replace(", seed ", " "),
            ProgressBar(total=1.0, completed=share, width=24, complete_style="yellow"),
            f"{share:4.0%}",
            reached,
            Text("" if left is None or not known.samples else f"{duration(left)} left", style="dim"),
        )
        return line

    def _counts(self) -> Text:
        line = counts(self.tally)
        left = self.tally.left_seconds()
        if left:
            line.append(f"   about {duration(left / max(1, self.workers))} left", style="dim")
        return line.append("   Ctrl-C stops, the same command goes on", style="dim")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.transient = True  # the summary shows the table once more, and whole
        self._live.stop()


def counts(tally: Tally) -> Text:
    """How many runs are in each state, with its sign."""
    found, line = tally.count(), Text()
    for state in STATES:
        if found[state]:
            line.append("  " if line.plain else "").append(f"{LOOK[state][0]} ", style=LOOK[state][2]).append(f"{found[state]} {state}")
    return line


def table(tally: Tally, console: Console, room: int = 10**6) -> Table:
    """A row for each algorithm and variant, a column for each table: the state of each run in order of its seed, the mean score of those
    that are finished. With too little `room` for all rows, those that are not at their end."""
    columns = list(dict.fromkeys(known.spec.table for known in tally.runs.values()))
    rows: dict[str, dict[str, list[Known]]] = {}
    for known in tally.runs.values():
        rows.setdefault(known.label, {}).setdefault(known.spec.table, []).append(known)
    labels = list(rows)
    if len(labels) > room:
        labels = [name for name in labels if any(k.state in ("running", "waiting") for cell in rows[name].values() for k in cell)][:room]
    most = max((len(cell) for row in rows.values() for cell in row.values()), default=0)
    signs = most <= SIGNS and len(columns) * (most + 9) + max(map(len, rows), default=0) <= console.width
    found = Table(show_edge=False, pad_edge=False, title=None)
    found.add_column("")
    for name in columns:
        found.add_column(name)
    plain = not console.encoding.lower().startswith("utf")
    for name in labels:
        found.add_row(name, *(_cell(rows[name].get(column, []), signs, plain) for column in columns))
    return found


def _cell(runs: Sequence[Known], signs: bool, plain: bool) -> Text:
    """●●◐· 0.512"""
    text = Text(no_wrap=True)
    runs = sorted(runs, key=lambda known: known.spec.seed)
    if signs:
        for known in runs:
            text.append(LOOK[known.state][plain], style=LOOK[known.state][2])
    elif runs:
        ended = sum(known.state in ("finished", "diverged", "failed") for known in runs)
        text.append(f"{ended}/{len(runs)}", style="green" if ended == len(runs) else "")
        for state in ("diverged", "failed"):
            number = sum(known.state == state for known in runs)
            text.append(f" {LOOK[state][plain]}{number}" if number else "", style=LOOK[state][2])
    scores = [known.score for known in runs if known.state == "finished" and known.score is not None]
    return text.append(f" {score(sum(scores) / len(scores))}" if scores else "")


def summary(tally: Tally, console: Console, brief: bool = False) -> None:
    """The table, unless it is to be brief, and how each run that did not finish has ended."""
    if not brief:
        console.print(table(tally, console), Text(), sep="\n")
    console.print(counts(tally))
    for known in tally.of("diverged", "failed"):
        word = "diverged before, and would again" if known.before else known.state
        title = f"[{LOOK[known.state][2]}]{escape(known.title)}[/]"
        console.print(f"  {title} ({known.spec.run_id}), {word}: {escape(known.reason)}", highlight=False, soft_wrap=True)
