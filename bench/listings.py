"""Tables for `bench ls`, `bench check` and `bench doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import registry
from bench.errors import unknown
from bench.store import RunStore

if TYPE_CHECKING:
    from bench.peers import Agreement, Peer


def plugins(kind: str, markdown: bool, as_json: bool) -> None:
    """Every plug-in of a kind with the first line of its documentation; broken ones with their error."""
    if markdown:
        print(registry.markdown(kind), end="")
        return
    entries = registry.listing(kind)
    if as_json:
        for entry in entries:
            print(json.dumps(asdict(entry)))
        return
    table = Table("name", "what it does", "from")
    for entry in entries:
        table.add_row(entry.name, entry.about if entry.error is None else f"[red]{escape(entry.error)}[/]", entry.origin)
    Console().print(table)


def runs(store: RunStore, as_json: bool) -> None:
    """Every run with its state and newest score; broken folders with their error."""
    found = store.runs()
    if as_json:
        for info in found:
            last = asdict(info.last) if info.last else None
            print(json.dumps({"run_id": info.run_id, "folder": str(info.folder), "state": info.state, "last": last, "error": info.error}))
        return
    if not found:
        print(f"no runs in {store.root}; `bench run --algo gspo --task gsm8k` makes one")
        return
    table = Table("run", "table", "algorithm", "seed", "state", "samples", "score")
    for info in found:
        folder = info.folder
        if info.spec is None:
            table.add_row(info.run_id, folder.parents[1].name, folder.parent.name, "", "[red]broken[/]", "", escape(info.error or ""))
            continue
        scores = [r.eval_score for r in info.records() if r.eval_score is not None]
        samples = str(info.last.samples) if info.last else "0"
        score = f"{scores[-1]:.3f}" if scores else ""
        paid = " (reward model)" if info.spec.reward.name == "model" else ""
        table.add_row(info.run_id, info.spec.table, info.spec.algorithm.name + paid, str(info.spec.seed), info.state, samples, score)
    Console().print(table)


def checks(name: str, as_json: bool) -> bool:
    """Run every contract on the plug-in of this name, whatever its kind; True where all hold. Raises ConfigError for an unknown name."""
    from bench import checks as contracts

    kinds = [kind for kind in registry.KINDS if name in registry.names(kind)]
    if not kinds:
        raise unknown("plug-in", name, (known for kind in registry.KINDS for known in registry.names(kind)))
    held = True
    table = Table("contract", "holds", "detail", title=f"{name} ({', '.join(kinds)})")
    for kind in kinds:
        for outcome in contracts.run(kind, name):
            held = held and outcome.passed
            if as_json:
                print(json.dumps({"kind": kind, **asdict(outcome)}), flush=True)
            else:
                table.add_row(outcome.title, _mark(outcome.passed) if outcome.applies else "-", escape(outcome.detail))
    if not as_json:
        Console().print(table)
    return held


def agreements(peer: str, name: str | None, markdown: bool, as_json: bool) -> bool:
    """How far a peer's own functions are from ours, for one rule or all; True where every difference is within its bounds.

    Raises ConfigError for an unknown name, MissingError where the peer cannot be used.
    """
    from bench import peers

    found = []
    for each in peers.compare(peer, name):
        found.append(each)
        if as_json:
            print(json.dumps({**asdict(each), "holds": each.holds}), flush=True)
    if markdown:
        print(peers.markdown(found), end="")
    elif not as_json:
        _print_agreements(peers.PEERS[peer], found, whole=name is None)
    return all(each.holds for each in found)


def _print_agreements(peer: Peer, found: list[Agreement], whole: bool) -> None:
    """Of the whole, one row for each quantity of each rule; of one rule, one for each setting that was tried."""
    from bench.peers import rounded_up, rows, verdict

    title, console = f"{peer.title} {peer.version}", Console()
    table = Table("rule", "what", "settings", "largest difference", "allowed", "agrees", title=title)
    for row in rows(found) if whole else ():
        table.add_row(row.rule, row.what, str(row.settings), rounded_up(row.difference), f"{row.tolerance:.0e}", _mark(row.holds))
    for each in () if whole else found:
        if not each.by_design:
            allowed = "" if each.tolerance is None else f"{each.tolerance:.0e}"
            table.add_row(each.rule, each.what, escape(each.settings), f"{each.difference:.1e}", allowed, _mark(each.holds))
    console.print(table)
    differing = Table("rule", "difference", "as expected", "where it differs by design, or when it agrees", title=f"{title} by design")
    for each in found:
        if each.by_design:
            differing.add_row(each.rule, f"{each.difference:.1e}", _mark(each.holds), escape(each.note))
    if differing.row_count:
        console.print(differing)
    console.print(verdict(found), highlight=False, soft_wrap=True)


def _mark(holds: bool) -> str:
    return "[green]yes[/]" if holds else "[red]no[/]"


def doctor(results: Path, as_json: bool) -> None:
    """What this machine has and lacks, each lack with its remedy."""
    from bench.doctor import report

    findings = report(results)
    if as_json:
        for finding in findings:
            print(json.dumps(asdict(finding)))
        return
    table = Table("", "what")
    for name in ("found", "remedy"):
        table.add_column(name, overflow="fold")  # a pip line that is cut short helps nobody
    marks = {"ok": "[green]ok[/]", "missing": "[red]missing[/]", "note": "[yellow]note[/]"}
    for finding in findings:
        table.add_row(marks[finding.state], finding.name, escape(finding.detail), escape(finding.remedy))
    Console().print(table)
