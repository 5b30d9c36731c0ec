"""`bench leaderboard`, `bench compare`, `bench verify` and `bench pack`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import AsJson, Results


def leaderboard(
    results: Results = Path("results"),
    table: Annotated[str, typer.Option(help="This table only, such as gsm8k-tiny.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one line a row.")] = False,
    write: Annotated[Path | None, typer.Option(help="Write leaderboard.md, .json and .csv to this folder.")] = None,
    readme: Annotated[Path | None, typer.Option(help="Put the Markdown between the leaderboard markers of this file.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="With --readme: write nothing, exit with 1 where the file holds something else.")
    ] = False,
) -> None:
    """Rank the algorithms of each table by their held-out scores, ties as ties; every row has the hash of its runs."""
    from bench.board import publishing
    from bench.errors import ConfigError

    if markdown + as_json + as_csv > 1:
        raise ConfigError("--markdown, --json and --csv exclude each other; give one of them")
    if check and readme is None:
        raise ConfigError("--check compares a file with the results: give it by --readme")
    tables, aggregates = publishing.tables(results, table)
    form = "markdown" if markdown else "json" if as_json else "csv" if as_csv else ""
    if readme is not None:
        raise typer.Exit(0 if publishing.into(readme, tables, aggregates, check) else 1)
    if write is not None:
        publishing.write(write, tables, aggregates)
    publishing.show(tables, aggregates, form)


def compare(
    first: Annotated[str, typer.Argument(help="An algorithm, or the label of one on a board.")],
    second: Annotated[str, typer.Argument(help="What it is compared with.")],
    results: Results = Path("results"),
    table: Annotated[str, typer.Option(help="On this table only; by default on all that both are on.")] = "",
    metric: Annotated[str, typer.Option(help="eval_score, the final held-out score, or a metric of `bench ls metrics`.")] = "eval_score",
    as_json: AsJson = False,
) -> None:
    """Compare two algorithms with a paired test, and say in a sentence who is better, or what a tie means."""
    from bench import trials
    from bench.board import comparing, facts
    from bench.board.groups import boards

    found = boards(trials.read(results, {*facts.columns(), *comparing.columns(metric)}))
    comparisons = comparing.compare(found, first, second, table, metric)
    if as_json:
        from bench.board.verdicts import as_json as rendered

        print("\n".join(json.dumps(rendered(one)) for one in comparisons))
        return
    from rich.console import Console

    from bench.board import shown

    shown.compared(comparisons, Console())


def verify(
    row: Annotated[str, typer.Argument(help="Row of the leaderboard: its hash or the first digits, or TABLE/LABEL.")],
    results: Results = Path("results"),
    seeds: Annotated[str, typer.Option(help="Which of its seeds: 0..4, or 0,3, or all; by default the first.")] = "",
    keep: Annotated[
        Path | None, typer.Option(help="Keep the new runs in this folder, which must be empty; by default they are removed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a row again and compare: byte for byte on the same platform, within stated bands elsewhere. Exit code 1 where it differs."""
    import tempfile

    if keep is not None and keep.exists() and any(keep.iterdir()):
        from bench.errors import ConfigError

        raise ConfigError(f"{keep} is not empty; give --keep a new folder")
    with tempfile.TemporaryDirectory(prefix="bench-verify-") as folder:
        raise typer.Exit(0 if _verified(row, results, seeds, keep or Path(folder), as_json) else 1)


def _verified(name: str, results: Path, wanted: str, root: Path, as_json: bool) -> bool:
    """Run the row again and say what came of each seed; whether all of them hold."""
    from rich.console import Console
    from rich.markup import escape

    from bench import trials
    from bench.board import finding, recorded
    from bench.board.groups import boards
    from bench.board.hashing import row_hash
    from bench.board.noise import band
    from bench.resolve import read_seeds
    from bench.screen import Live
    from bench.verify import plan, verify

    found = boards(trials.read(results, ("eval_score", "eval/return")))
    board, entry = finding.row(found, name, recorded.hashes(results))
    seeds = list(entry.seeds) if wanted == "all" else read_seeds(wanted) if wanted else [entry.seeds[0]]
    specs, allowed = [spec for group in plan(entry, seeds) for spec in group], band(entry)
    console = Console(stderr=as_json)
    title, also = f"{board.name}/{entry.label} ({row_hash(entry.trials)})", sorted({spec.seed for spec in specs} - set(seeds))
    beside = f" (beside {', '.join(map(str, also))}, which were trained with them)" if also else ""
    named = f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
    console.print(f"[bold]{title}[/], {named}{beside}, {specs[0].budget} {specs[0].unit} each", highlight=False, soft_wrap=True)
    with Live(console, specs) as live:
        verdicts = verify(entry, seeds, root, live.observe, allowed)
    for verdict in verdicts:
        if as_json:
            print(json.dumps({"row": f"{board.name}/{entry.label}", "hash": row_hash(entry.trials), **asdict(verdict)}))
        else:
            mark = "[green]holds[/]" if verdict.holds else "[red]differs[/]"
            console.print(f"seed {verdict.seed}: {mark}, {escape(verdict.detail)}", highlight=False, soft_wrap=True)
    return all(verdict.holds for verdict in verdicts)


def pack(
    out: Annotated[Path, typer.Argument(help="Folder to put the packed runs in, such as results/board.")],
    results: Results = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Copy finished runs for version control: logs compressed, no checkpoints. What is there already stays."""
    from bench import trials
    from bench.board.packing import pack

    done = pack(trials.read(results, ("eval_score",)), out)
    if as_json:
        left_out = [{"folder": str(trial.folder), "reason": reason} for trial, reason in done.left_out]
        print(json.dumps({"new": done.new, "there": done.there, "bytes": done.bytes, "left_out": left_out}))
        return
    for trial, reason in done.left_out:
        print(f"left out: {trial.table}, {trial.algorithm}, run {trial.run_id}: {reason}")
    print(f"{done.new + done.there} runs in {out}, {done.new} of them new: {done.bytes / 1e6:.1f} MB")
