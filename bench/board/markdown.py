"""Boards as Markdown, JSON and CSV: the same runs, the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from bench.board import words
from bench.board.aggregates import Aggregate
from bench.board.leaderboard import Row, Table
from bench.errors import ConfigError
from bench.stats.intervals import Interval

START, END = "<!-- leaderboard -->", "<!-- /leaderboard -->"
SHOWN = {  # by title: what a table shows beside rank, score and seeds
    "area under curve": "area_under_curve",
    "to 0.5": "samples_to_threshold",
    "drawdown": "maximum_drawdown",
    "entropy floor": "entropy_floor",
    "CPU-seconds": "cpu_seconds",
}
CONTROL = " (control)"


def shown(table: Table) -> dict[str, str]:
    """The columns that any row of a table has a value for."""
    return {title: name for title, name in SHOWN.items() if any(str(row.facts.get(name, "")) for row in table.rows)}


def markdown(tables: Sequence[Table], aggregates: Sequence[Aggregate]) -> str:
    """A heading, a table and what to know of it for each board, then for each aggregate."""
    parts = [part for table in tables for part in (f"**{words.title(table)}**", _board(table), _sentences(words.below(table)))]
    for one in aggregates:
        parts += [f"**All of {one.kind}**", _aggregate(one), _sentences(words.overall(one))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _board(table: Table) -> str:
    if not table.rows:
        return ""
    columns = shown(table)
    lines = [["rank", "algorithm", "score [95 %]", "seeds", *columns, "runs"]]
    for row in table.rows:
        facts = [str(row.facts[name]) for name in columns.values()]
        lines.append(
            [str(row.rank or ""), named(row), words.score_of(row), words.seeds_of(row), *facts, f"`{row.hash}`" if row.hash else ""]
        )
    return _grid(lines, left=1)


def named(row: Row) -> str:
    """A row's label, marked where it is a control."""
    return f"`{row.label}`{CONTROL if row.control else ''}"


def _aggregate(one: Aggregate) -> str:
    lines = [["algorithm", "IQM [95 %]", "mean [95 %]", "gap [95 %]", "runs"]]
    for row in one.rows:
        label = f"`{row.label}`{CONTROL if row.control else ''}"
        lines.append([label, *(words.interval(held) for held in (row.iqm, row.mean, row.gap)), str(row.runs)])
    return _grid(lines, left=0)


def _grid(lines: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table; column `left` is aligned to the left, the others to the right."""
    head, *body = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    marks = ["---" if i == left else "---:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, marks, *body])


def _sentences(said: Sequence[str]) -> str:
    return "\n".join(f"- {one}" for one in said)


def within(text: str, block: str) -> str:
    """A document with what lies between its markers replaced. Raises ConfigError where it has none."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ConfigError(f"there is no {START} ... {END} in it; put these two lines where the leaderboard is to stand")
    return f"{before}{START}\n{block}{END}{after}"


def as_json(tables: Sequence[Table], aggregates: Sequence[Aggregate]) -> str:
    """Everything that a board says; a number that is not known is null."""
    held = {"boards": [_table(table) for table in tables], "aggregates": [_overall(one) for one in aggregates]}
    return json.dumps(held, indent=1, allow_nan=False) + "\n"


def _table(table: Table) -> dict[str, Any]:
    tests = [
        {
            "first": test.first,
            "second": test.second,
            "difference": _interval(test.pair.estimate.interval()),
            "p": words.known(test.pair.p),
            "p_holm": words.known(test.p),
            "items": test.pair.items,
        }
        for test in table.tests
    ]
    left_out = [
        {"algorithm": t.algorithm, "run_id": t.run_id, "seed": t.seed, "state": t.state, "reason": why} for t, why in table.left_out
    ]
    return {
        "board": table.board.name,
        "table": table.board.table,
        "unit": table.board.unit,
        "scaled": table.board.scaled,
        "protocol": dict(table.board.protocol),
        "rows": [_row(row) for row in table.rows],
        "tests": tests,
        "smallest_difference": words.known(table.smallest),
        "left_out": left_out,
        "notes": words.below(table),
    }


def _row(row: Row) -> dict[str, Any]:
    facts = {name: {"mean": words.known(fact.mean), "seeds": fact.known} for name, fact in row.facts.items()}
    rank = {"rank": row.rank.low if row.rank else None, "rank_low": row.rank.low if row.rank else None}
    return {
        "label": row.label,
        "algorithm": row.algorithm,
        "control": row.control,
        **rank,
        "rank_high": row.rank.high if row.rank else None,
        "ties": list(row.ties),
        "score": _interval(row.score),
        "seeds": list(row.seeds),
        "diverged": list(row.diverged),
        "metrics": facts,
        "hash": row.hash,
    }


def _overall(one: Aggregate) -> dict[str, Any]:
    rows = [
        {"label": r.label, "control": r.control, "runs": r.runs, **{k: _interval(getattr(r, k)) for k in ("iqm", "mean", "gap")}}
        for r in one.rows
    ]
    return {"kind": one.kind, "boards": list(one.boards), "rows": rows, "notes": words.overall(one)}


def _interval(held: Interval) -> dict[str, Any]:
    bounds = {name: words.known(getattr(held, name)) for name in ("value", "low", "high")}
    return bounds | {"level": held.level} | ({"note": held.note} if held.note else {})


def as_csv(tables: Sequence[Table]) -> str:
    """One line a row of a board; what is not known is empty."""
    names = ["board", "rank_low", "rank_high", "label", "control", "score", "low", "high", "seeds", "diverged"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = list(dict.fromkeys(name for table in tables for row in table.rows for name in row.facts))
    writer.writerow([*names, *facts, "hash"])
    for table in tables:
        for row in table.rows:
            places = [row.rank.low, row.rank.high] if row.rank else ["", ""]
            score = [_plain(value) for value in (row.score.value, row.score.low, row.score.high)]
            known = [table.board.name, *places, row.label, int(row.control), *score, len(row.seeds), len(row.diverged)]
            writer.writerow([*known, *(_plain(row.facts[name].mean) if name in row.facts else "" for name in facts), row.hash])
    return text.getvalue()


def _plain(value: float) -> str:
    return "" if words.known(value) is None else repr(value)
