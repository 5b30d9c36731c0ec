"""The command line. What a command does stands in `bench.commands`."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

import typer

from bench.commands import compare, evaluate, exchange, look, make, plot, report, sweep, train, tune
from bench.errors import BenchError, PeerError
from bench.launch import alone, launched

app = typer.Typer(
    help="Train with one reinforcement-learning algorithm, or compare several under the same budget, seeds and held-out problems.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing rich for it would double the time
)

for command in (
    *(train.run, train.resume, sweep.sweep, tune.tune),
    *(compare.leaderboard, compare.compare, compare.verify, compare.pack, report.report, plot.plot),
    *(look.ls, look.check, look.doctor, make.pretrain, make.collect, make.save),
):
    app.command()(command)
app.command("eval")(evaluate.evaluate)
app.command("import")(exchange.import_)
app.command()(exchange.export)


@app.callback()
def _one_process(context: typer.Context) -> None:
    if context.invoked_subcommand not in ("run", "resume"):
        alone(f"bench {context.invoked_subcommand}")


def main() -> NoReturn:
    """The `bench` script: exit code 0, or 2 with one sentence for whatever a user can mend."""
    code: str | int | None = 0
    try:
        app(standalone_mode=True)
    except BenchError as error:
        _say(error)
        code = 2
    except SystemExit as error:
        code = error.code
    except Exception:
        if launched()[1] == 1:
            raise
        traceback.print_exc()
        code = 1
    if code and launched()[1] > 1:  # the other processes may be gone, and what torch does at an interpreter's end would wait for them
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
    sys.exit(code)


def _say(error: BenchError) -> None:
    """The first process speaks for those that end because of another."""
    rank, _, _ = launched()
    if rank == 0 or not isinstance(error, PeerError):
        print(f"bench: {error}" if rank == 0 else f"bench: process {rank}: {error}", file=sys.stderr)
