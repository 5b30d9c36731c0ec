"""What each rule makes of an advantage at its paper's settings: coefficient of grad log pi over the advantage, against the ratio.

Computed from the rules themselves by automatic differentiation (`benchmarks/effective_weights.py`); rules that agree share a panel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from bench.board.groups import Board
from bench.report import theme
from bench.report.data import Report
from bench.report.palette import KNOWN, look
from bench.report.theme import FAINT, INK, MUTED, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCOPE = "all"
NOTHING = "none of these algorithms is a policy-gradient rule of this package"
PATH = Path(__file__).parents[1] / "effective_weights.json"
SIDES = (("good", "A > 0"), ("bad", "A < 0"))
COLUMNS = 3
TICKS = {0.25: "1/4", 0.5: "1/2", 1: "1", 2: "2", 4: "4"}


def draw(report: Report, board: Board | None = None, axis: str = "") -> Figure | None:
    """Of the report's algorithms, or of all rules where it has no runs. None where `NOTHING` applies."""
    rules = json.loads(PATH.read_text())
    named = {entry.algorithm for one in report.boards for entry in one.entries}
    groups = alike({name: rule for name, rule in rules.items() if not named or name in named})
    if not groups:
        return None
    rows = -(-len(groups) // COLUMNS)
    columns = min(COLUMNS, len(groups))
    with theme.themed():
        figure = theme.sheet(2.55 * columns + 0.3, 2.3 * rows + 0.4)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for panel, names in zip(panels.flat, groups, strict=False):
            _panel(panel, names, rules[names[0]])
        for panel in panels.flat[len(groups) :]:
            panel.remove()
        for column in range(columns):  # the lowest panel of each column names the ratios
            lowest = panels[(len(groups) - 1 - column) // columns, column]
            lowest.xaxis.set_tick_params(labelbottom=True)
        _legend(panels[0, 0])
        figure.supxlabel("importance ratio", fontsize=9)
        figure.supylabel("weight of the advantage", fontsize=9)
    return figure


def alike(rules: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Names of rules with the same unit and curves together: the largest groups first, the main rules first in each."""
    groups: dict[str, list[str]] = {}
    for name, rule in rules.items():
        groups.setdefault(json.dumps(rule), []).append(name)
    order = {name: place for place, name in enumerate(KNOWN)}
    return [
        sorted(names, key=lambda name: order.get(name, len(order)))
        for names in sorted(groups.values(), key=lambda names: (-len(names), names))
    ]


def _panel(panel: Axes, names: Sequence[str], rule: Mapping[str, Any]) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    panel.set_xscale("log", base=2)
    itself = rule["good"]["ratio"]
    panel.plot(itself, itself, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1.5)
    for (side, _), style in zip(SIDES, ("-", (0, (3, 1.5))), strict=True):
        panel.plot(
            rule[side]["ratio"], rule[side]["weight"], color=look(names[0]).color, linestyle=style, linewidth=1.9, zorder=3, label=side
        )
    lines = wrapped(names)
    panel.set_title("\n".join(lines), loc="left", fontweight="bold", fontsize=9, pad=14)
    cut = jumps(rule)
    text = ("no ratio" if rule["unit"] == "none" else f"per {rule['unit']}") + (f"; cut at {', '.join(cut)}" if cut else "")
    panel.text(0, 1.02, text, transform=panel.transAxes, fontsize=SMALL - 0.5, color=MUTED, va="bottom", in_layout=False)
    panel.tick_params(length=0)
    panel.set_ylim(-0.1, 3.2)
    panel.set_xlim(0.24, 4.2)
    panel.xaxis.set_major_locator(FixedLocator(list(TICKS)))
    panel.xaxis.set_major_formatter(lambda value, _: TICKS.get(value, ""))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())


def jumps(rule: Mapping[str, Any]) -> list[str]:
    """The ratios at which a weight jumps, in order."""
    found = set()
    for side, _ in SIDES:
        ratio, weight = numpy.array(rule[side]["ratio"]), numpy.array(rule[side]["weight"])
        steep = (numpy.abs(numpy.diff(weight)) > 0.05) & (numpy.diff(numpy.log(ratio)) < 1e-6)
        found |= {float(value) for value in numpy.sqrt(ratio[:-1] * ratio[1:])[steep]}
    return [f"{value:.{6 if abs(value - 1) < 0.01 else 3}g}" for value in sorted(found)]


def wrapped(names: Sequence[str], width: int = 26) -> list[str]:
    """The names in lines of about so many letters."""
    lines = [names[0]]
    for name in names[1:]:
        if len(lines[-1]) + len(name) + 2 > width:
            lines[-1] += ","
            lines.append(name)
        else:
            lines[-1] += f", {name}"
    return lines


def _legend(panel: Axes) -> None:
    from matplotlib.lines import Line2D

    styles: tuple[tuple[str, Any, str], ...] = (
        ("A > 0", "-", INK),
        ("A < 0", (0, (3, 1.5)), INK),
        ("the ratio itself", (0, (1, 2)), FAINT),
    )
    handles = [Line2D([], [], color=color, linestyle=style, linewidth=1.5, label=name) for name, style, color in styles]
    panel.legend(handles=handles, loc="upper left", frameon=False, fontsize=SMALL, handlelength=2.2, borderaxespad=0.2)
