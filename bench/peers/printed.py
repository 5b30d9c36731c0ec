"""What was compared with a peer, for a terminal, the README and scripts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.peers import PEERS, Agreement, Peer, compare


def show(peer: str, name: str | None, as_markdown: bool, as_json: bool) -> bool:
    """How far a peer's own functions are from ours, for one rule or all; True where every difference is within its bounds.

    Raises ConfigError for an unknown name, MissingError where the peer cannot be used.
    """
    found = []
    for each in compare(peer, name):
        found.append(each)
        if as_json:
            print(json.dumps({**asdict(each), "holds": each.holds}), flush=True)
    if as_markdown:
        print(markdown(found), end="")
    elif not as_json:
        _print_agreements(PEERS[peer], found, whole=name is None)
    return all(each.holds for each in found)


def _print_agreements(peer: Peer, found: list[Agreement], whole: bool) -> None:
    """Of the whole, one row for each quantity of each rule; of one rule, one for each setting that was tried."""
    console = Console()
    console.print(_by_quantity(peer, found) if whole else _by_setting(peer, found))
    if any(each.by_design for each in found):
        console.print(_by_design(peer, found))
    console.print(verdict(found), highlight=False, soft_wrap=True, markup=False)


def _by_quantity(peer: Peer, found: list[Agreement]) -> Table:
    table = Table(title=f"{peer.title} {peer.version}")
    table.add_column("rule", no_wrap=True)
    for name in ("what", "tried", "largest difference", "allowed", "agrees"):
        table.add_column(name, min_width=len("below 1e-14") if "difference" in name else None)
    for row in rows(found):
        table.add_row(row.rule, row.what, str(row.settings), rounded_up(row.difference), f"{row.tolerance:.0e}", _yes(row.holds))
    return table


def _by_setting(peer: Peer, found: list[Agreement]) -> Table:
    plain = [each for each in found if not each.by_design]
    functions = "; ".join(dict.fromkeys(each.note for each in plain))
    title = f"{found[0].rule} beside {peer.title} {peer.version}"
    table = Table(title=title, caption=f"{peer.title}'s side: {escape(functions)}", caption_justify="left")
    table.add_column("settings", overflow="fold")
    for name in ("what", "difference", "allowed", "agrees"):
        table.add_column(name)
    above = ""
    for each in plain:
        allowed = "" if each.tolerance is None else f"{each.tolerance:.0e}"
        settings, above = "" if each.settings == above else each.settings, each.settings
        table.add_row(escape(settings), each.what, f"{each.difference:.1e}", allowed, _yes(each.holds))
    return table


def _by_design(peer: Peer, found: list[Agreement]) -> Table:
    table = Table("rule", "difference", "as expected", title=f"{peer.title} {peer.version} by design")
    table.add_column("where it differs, or when it agrees", overflow="fold")
    for each in found:
        if each.by_design:
            table.add_row(each.rule, f"{each.difference:.1e}", _yes(each.holds), escape(each.note))
    return table


def _yes(holds: bool) -> str:
    return "[green]yes[/]" if holds else "[red]no[/]"


@dataclass(frozen=True)
class Row:
    """One quantity of one rule over all the settings that were tried."""

    rule: str
    what: str
    settings: int
    difference: float
    tolerance: float
    holds: bool


def rows(found: list[Agreement]) -> list[Row]:
    """What should agree, by rule and quantity, in the order it was found."""
    groups: dict[tuple[str, str], list[Agreement]] = {}
    for each in found:
        if not each.by_design:
            groups.setdefault((each.rule, each.what), []).append(each)
    out = []
    for (rule, what), group in groups.items():
        worst, allowed = _worst(each.difference for each in group), max(each.tolerance or 0.0 for each in group)
        out.append(Row(rule, what, len(group), worst, allowed, all(each.holds for each in group)))
    return out


def _worst(differences: Iterable[float]) -> float:
    """The largest; NaN where one is."""
    return max(differences, key=lambda x: math.inf if math.isnan(x) else x)


def markdown(found: list[Agreement]) -> str:
    """Two Markdown tables for the README: the largest difference of each rule, and where the peer differs by design."""
    lines = ["| rule | compared | settings tried | largest difference | allowed |", "|---|---|---|---|---|"]
    for (rule, allowed), group in groupby(rows(found), lambda row: (row.rule, row.tolerance)):
        same = list(group)
        what, tried = ", ".join(row.what for row in same), max(row.settings for row in same)
        lines.append(f"| `{rule}` | {what} | {tried} | {rounded_up(_worst(row.difference for row in same))} | {allowed:.0e} |")
    lines += ["", "| rule | where it differs by design | largest difference |", "|---|---|---|"]
    lines += [f"| `{each.rule}` | {each.note} | {rounded_up(each.difference)} |" for each in found if each.by_design]
    return "\n".join(lines) + "\n"


def verdict(found: list[Agreement]) -> str:
    """One line on what agrees, one on what differs by design, and one for each that does not do as it should."""
    plain, designed = [each for each in found if not each.by_design], [each for each in found if each.by_design]
    lines = [f"{sum(each.holds for each in plain)} of {len(plain)} comparisons agree"]
    if designed:
        lines.append(f"{sum(each.holds for each in designed)} of {len(designed)} differences by design are as expected")
    bad = [each for each in found if not each.holds]
    return "\n".join(lines + [f"not so: {each.rule}, {each.what}, {each.settings}: {each.difference:.1e}" for each in bad])


def rounded_up(difference: float) -> str:
    """One significant digit, rounded up; below 1e-14 differences are not told apart, so that machines print the same."""
    if not math.isfinite(difference):
        return f"{difference:g}"
    if difference < 1e-14:
        return "below 1e-14"
    step = 10.0 ** math.floor(math.log10(difference))
    return f"{math.ceil(difference / step * (1 - 1e-9)) * step:.1g}"
