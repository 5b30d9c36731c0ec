"""What was compared, before what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from bench.board.groups import Board
from bench.report.data import Report
from bench.report.page.elements import Html, element, html
from bench.report.page.places import anchor
from bench.report.page.runs import platform, version
from bench.trials import Trial

MACHINES = 6  # and versions that are named one by one


def trials(report: Report) -> list[Trial]:
    """Every run once."""
    found = [trial for board in report.boards for entry in board.entries for trial in (*entry.trials, *entry.left_out)]
    return [*found, *{trial.folder: trial for board in report.boards for trial in board.broken}.values()]


def title(report: Report) -> str:
    """One line for the window and the heading."""
    names = {entry.algorithm for board in report.boards for entry in board.entries}
    return f"{_count(len(names), 'algorithm')} on {_count(len(report.boards), 'board')}"


def section(report: Report) -> Html:
    """The heading and the facts."""
    held = trials(report)
    counted = sum(len(entry.trials) for board in report.boards for entry in board.entries)
    facts: list[tuple[str, object]] = [("Runs", f"{_count(len(held), 'run')}, {counted} of them counted")]
    newest = _newest(held)
    if newest:
        facts.append(("Newest run", newest))
    facts += [(_plural(len(report.boards), "Board"), element("ul", [_board(board) for board in report.boards], class_="plain"))]
    facts += [(name, element("ul", [element("li", line) for line in lines], class_="plain")) for name, lines in _made(held) if lines]
    rows = [[element("dt", name), element("dd", value)] for name, value in facts]
    return html([element("h1", title(report)), element("dl", rows, class_="facts")])


def _made(held: Sequence[Trial]) -> list[tuple[str, list[str]]]:
    """Versions and machines, the most used first, with the number of runs."""
    found = []
    for name, kind in (("Version", version), ("Machine", platform)):
        ran = Counter(text for trial in held if (text := kind(trial.provenance)))
        lines = [f"{text} ({_count(number, 'run')})" for text, number in sorted(ran.items(), key=lambda pair: (-pair[1], pair[0]))]
        more = [f"and {len(lines) - MACHINES} more, told with each run"] if len(lines) > MACHINES else []
        found.append((_plural(len(lines), name), lines[:MACHINES] + more))
    return found


def _board(board: Board) -> Html:
    name = element("a", board.name, href=f"#{anchor(board)}")
    return element("li", name, f": {protocol(board)}")


def protocol(board: Board) -> str:
    """Budget, seeds and held-out items in a sentence."""
    held = board.protocol
    if not board.entries:
        return "no run of it can be read"
    seeds = {len(entry.trials) for entry in board.entries if entry.trials}
    each = "no finished run" if not seeds else f"{_range(seeds)} seed{'' if seeds == {1} else 's'} each"
    parts = [f"{len(board.entries)} entr{'y' if len(board.entries) == 1 else 'ies'}", each, f"budget {held['budget']:,} {_unit(board)}"]
    if "eval_problems" in held:
        what = "tuning" if held.get("eval_split") == "tune" else "held-out"
        parts.append(f"{held['eval_problems']} {what} problems, {held.get('eval_completions', 1)} completions of each")
    if "eval_episodes" in held:
        parts.append(f"{held['eval_episodes']} episodes per evaluation")
    model = held.get("model")
    if isinstance(model, dict) and model.get("name") not in (None, "none"):
        parts.append(f"start model {model['name']} {model.get('settings', {}).get('digest', '')}".rstrip())
    return ", ".join(parts)


def _unit(board: Board) -> str:
    return "completions" if board.unit == "samples" else board.unit


def _newest(held: Iterable[Trial]) -> str | None:
    """The day on which a curve was last written to; unknown of runs packed for version control, whose files are as old as the checkout."""
    times = [path.stat().st_mtime for trial in held if (path := trial.folder / "curve.jsonl").exists()]
    return f"{datetime.fromtimestamp(max(times), UTC):%Y-%m-%d %H:%M} UTC" if times else None


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {_plural(number, what)}"


def _plural(number: int, what: str) -> str:
    return what if number == 1 else what + "s"
