"""What a comparison comes to, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bench.board.comparing import SCORE, Comparison, improved
from bench.board.leaderboard import ALPHA
from bench.board.words import count, interval, items, known, listed, number
from bench.stats.intervals import Interval


def verdict(one: Comparison) -> str:
    """One sentence: who is better and by how much, or a tie and what could have been seen, or why nothing can be said."""
    if math.isnan(one.pair.estimate.error):
        return _unknown(one)
    return _better(one) if one.decided else _tie(one)


def over(comparisons: Sequence[Comparison]) -> str:
    """The same over all tables on which both have two seeds or more; empty where that is not several."""
    usable = [one for one in comparisons if not math.isnan(one.pair.estimate.error)]
    found = improved(usable) if len(usable) > 1 else None
    if found is None:
        return ""
    first, second = (entry.label for entry in usable[0].entries)
    without = listed(one.board.name for one in comparisons if one not in usable) if len(usable) < len(comparisons) else ""
    where = f"Over {count(len(usable), 'table')}{f' (not {without})' if without else ''}"
    told = ", which does not tell them apart" if found.holds(0.5) else ""
    return f"{where}: a run of {first} beats one of {second}{_in(usable[0])} with probability {interval(found)}{told}."


def difference(one: Comparison) -> Interval:
    """The first less the second."""
    return one.pair.estimate.interval(1 - ALPHA)


def evidence(one: Comparison) -> str:
    """How many seeds and items stand behind it."""
    a, b = one.pair.seeds
    seeds = count(a, "seed") if a == b else f"{count(a, 'seed')} of {one.entries[0].label}, {count(b, 'seed')} of {one.entries[1].label}"
    if one.pair.items:
        return f"{seeds}, {count(one.pair.items, items(one.board))}"
    return f"{seeds}, by seed alone ({one.pair.lacking})" if one.metric == SCORE else seeds


def as_json(one: Comparison) -> dict[str, Any]:
    """All numbers of a comparison and its verdict; what is not known is null."""
    held, better = difference(one), one.improvement
    return {
        "board": one.board.name,
        "first": one.entries[0].label,
        "second": one.entries[1].label,
        "metric": one.metric,
        "difference": {name: known(getattr(held, name)) for name in ("value", "low", "high")},
        "probability_of_improvement": None if better is None else {n: known(getattr(better, n)) for n in ("value", "low", "high")},
        "p": known(one.pair.p),
        "p_holm": known(one.p),
        "decided": one.decided,
        "seeds": list(one.pair.seeds),
        "items": one.pair.items,
        "smallest_difference": known(one.smallest),
        "seeds_needed": one.needed,
        "verdict": verdict(one),
    }


def _better(one: Comparison) -> str:
    held = difference(one)
    first, second = (entry.label for entry in one.entries)
    if (held.value < 0) != one.lower:
        first, second = second, first
    held = held if held.value >= 0 else Interval(-held.high, -held.value, -held.low, held.level, held.samples, held.note)
    return f"{first} is better than {second} on {one.board.name}{_in(one)} by {interval(held)}: {evidence(one)}{_note(one)}"


def _tie(one: Comparison) -> str:
    said = f"a tie on {one.board.name}{_in(one)}: the difference is {interval(difference(one))}"
    alone = one.pair.p
    if alone < ALPHA:
        said += f", which would be one alone (p = {alone:.3f}), but not among {count(one.tables, 'table')} (p = {one.p:.3f})"
    said += "" if math.isnan(one.smallest) else f"; this data would have shown {number(one.smallest)}"
    seen = number(abs(one.pair.estimate.value))
    if math.isnan(one.smallest) or not float(seen.replace(",", "")):
        return f"{said} ({evidence(one)}{_note(one)})"
    what = f"no number of seeds would show {seen}: it takes more {items(one.board)}s"
    if one.needed is not None:
        what = f"about {one.needed:,} seeds would be needed to show {seen}"
    return f"{said}; {what} ({evidence(one)}{_note(one)})"


def _unknown(one: Comparison) -> str:
    value = one.pair.estimate.value
    seen = "" if math.isnan(value) else f"; the difference is {number(value)}"
    why = one.pair.estimate.note if one.metric == SCORE or not math.isnan(value) else f"some seeds have no {one.metric}"
    return f"undecided on {one.board.name}{_in(one)}: {why}{seen} ({evidence(one)})"


def _note(one: Comparison) -> str:
    """What has to be known of the estimate, and of runs that count as 0."""
    counted = "counted as 0" if one.metric == SCORE and one.board.scaled else "without a number"
    fallen = [
        f"{entry.label}: {count(entry.diverged, 'seed')} left the finite numbers, {counted}" for entry in one.entries if entry.diverged
    ]
    return "".join(f"; {said}" for said in (*([one.pair.estimate.note] if one.pair.estimate.note else []), *fallen))


def _in(one: Comparison) -> str:
    return "" if one.metric == SCORE else f" in {one.metric}"
