"""The command line. What a command does stands in `bench.commands`."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from bench.commands import compare, evaluate, exchange, look, make, plot, report, sweep, train, tune
from bench.errors import BenchError

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


def main() -> NoReturn:
    """The `bench` script: exit code 0, or 2 with one sentence for whatever a user can mend."""
    try:
        app(standalone_mode=True)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)
