"""Numbers and findings of a board in words."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bench.board.aggregates import Aggregate
from bench.board.groups import Board
from bench.board.leaderboard import ALPHA, Row, Table, groups
from bench.stats.intervals import Interval

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def number(value: float) -> str:
    """Three digits where scores are shares, one where they are returns; empty where there is none."""
    if math.isnan(value):
        return ""
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return text[1:] if not float(text.replace(",", "")) and text.startswith("-") else text


def interval(held: Interval, bounds: bool = True) -> str:
    """0.712 [0.690, 0.734]; the value alone where the data set no bounds."""
    return f"{number(held.value)} [{number(held.low)}, {number(held.high)}]" if bounds and held.known else number(held.value)


def known(value: float) -> float | None:
    """For JSON, which has neither NaN nor infinity: None where a number is not known."""
    return value if math.isfinite(value) else None


def count(many: int, what: str) -> str:
    """five seeds; one seed; 256 problems."""
    return f"{NUMBERS[many] if many < len(NUMBERS) else f'{many:,}'} {what}{'' if many == 1 else 's'}"


def items(board: Board) -> str:
    """What a held-out item of a board is called."""
    return "episode" if board.protocol["tier"] == "control" else "problem"


def listed(names: Iterable[str]) -> str:
    """a, b and c."""
    held = list(names)
    return held[0] if len(held) == 1 else f"{', '.join(held[:-1])} and {held[-1]}"


def score_of(row: Row) -> str:
    """The score of a row with its interval; without, where there is none."""
    if math.isnan(row.score.value):
        return "none"
    single = f" ({len(row.seeds)} seed)" if len(row.seeds) == 1 else ""
    return interval(row.score) + single


def seeds_of(row: Row) -> str:
    """How many seeds, and how many of them diverged."""
    return f"{len(row.seeds)} ({len(row.diverged)} diverged)" if row.diverged else str(len(row.seeds))


def title(table: Table) -> str:
    """What the board is of."""
    protocol, scale = table.board.protocol, "0 to 1" if table.board.scaled else "in the task's own unit"
    if table.board.scaled and protocol["tier"] == "control":
        scale = "0 random actions, 1 known to be reached"
    budget = protocol.get("budget")
    spent = f"{budget:,} {table.board.unit}, " if isinstance(budget, int) else ""
    return f"{table.board.name}: {spent}score of the last held-out evaluation ({scale})"


def below(table: Table) -> list[str]:
    """What a reader of a board has to know: how ranks were made, who is tied, what could have been seen, what is missing. Sentences."""
    return [*_ranks(table), *_ties(table), *_power(table), *_seeds(table), *_missing(table)]


def _ranks(table: Table) -> list[str]:
    if not table.tests:
        return ["No ranks: it takes two entries with two seeds or more."]
    rank = "Rank: 1 + the entries that are significantly better, to all less those that are worse"
    return [f"{rank} ({_how(table)}; {_level()}, Holm over {count(len(table.tests), 'pair')})."]


def _how(table: Table) -> str:
    """Which intervals stand behind the ranks."""
    item, alone = items(table.board), [test for test in table.tests if not test.pair.items]
    if not alone:
        return f"intervals over seeds and {count(table.items, item)}, paired by {item}"
    whys: dict[str, list[str]] = {}
    for row in table.rows:
        if row.rank and row.lacking:
            whys.setdefault(row.lacking, []).append(row.label)
    known = {row.label for row in table.rows if not row.lacking}
    for test in alone:
        if {test.first, test.second} <= known:
            whys.setdefault(test.pair.lacking, []).append(f"{test.first} with {test.second}")
    said = "; ".join(f"{listed(names)}: {why}" for why, names in whys.items())
    if len(alone) == len(table.tests):
        return f"intervals over seeds alone, not over held-out {item}s; {said}"
    return f"intervals over seeds and held-out {item}s, paired, in {count(len(alone), 'pair')} over seeds alone; {said}"


def _level() -> str:
    return f"{100 * (1 - ALPHA):g} %"


def _ties(table: Table) -> list[str]:
    found = groups(table)
    if not found:
        return ["No ties: every pair of ranked entries was told apart."] if table.tests else []
    if len(found[0]) == sum(row.rank is not None for row in table.rows):
        return ["Ties: no entry can be told from any other."]
    return [f"Ties, within which no entry can be told from another: {'; '.join(listed(group) for group in found)}."]


def _power(table: Table) -> list[str]:
    smallest = table.smallest
    said = "Smallest difference that these runs would have shown in four of five experiments"
    if math.isnan(smallest):
        return []
    if table.board.scaled and smallest >= 1:
        return ["With these seeds no difference that scores can have would have shown in four of five experiments."]
    return [f"{said}: {number(smallest)} (the median pair, Holm's first step)."]


def _seeds(table: Table) -> list[str]:
    said, counts = [], {len(row.seeds) for row in table.rows}
    if len(counts) > 1:
        said.append(f"Unequal seeds: entries have from {min(counts)} to {max(counts)}; those with fewer have wider intervals.")
    elif len({row.seeds for row in table.rows}) > 1:
        said.append("Entries have different seeds.")
    single = [row.label for row in table.rows if len(row.seeds) == 1]
    if single:
        said.append(f"One seed, so no interval and no rank: {listed(single)}.")
    for row in table.rows:
        if row.diverged:
            counts_as = "counted as 0" if table.board.scaled else "and without a scale no score can stand for that: no interval and no rank"
            said.append(f"{row.label}: {count(len(row.diverged), 'seed')} of {len(row.seeds)} left the finite numbers, {counts_as}.")
        elif math.isnan(row.score.value):
            said.append(f"{row.label}: a seed was never evaluated on held-out {items(table.board)}s.")
        elif row.score.known and row.score.note:
            said.append(f"{row.label}: {row.score.note}.")
    return said


def _missing(table: Table) -> list[str]:
    grouped: dict[tuple[str, str], list[str]] = {}
    for trial, why in table.left_out:
        named = f"seed {trial.seed}" if trial.state != "broken" else f"run {trial.run_id}"
        grouped.setdefault((trial.algorithm, why), []).append(named)
    return [f"Left out: {algorithm}, {listed(names)}: {why}." for (algorithm, why), names in grouped.items()]


def overall(aggregate: Aggregate) -> list[str]:
    """What a reader of an aggregate has to know."""
    said = f"Over {listed(aggregate.boards)}; stratified bootstrap over seeds, {_level()}."
    about = "IQM: mean of the middle half of all runs. Gap: what runs lack to 1, on average."
    return [said, about, *(f"Left out: {one}." for one in aggregate.left_out)]
