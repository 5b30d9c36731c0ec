"""One run as a picture: what it scored, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import StoreError
from bench.record import Record

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, BLUE, PALE, GREEN, ORANGE, PURPLE = "#2b2b2b", "#0072b2", "#9cc9e3", "#00785a", "#b85400", "#8a4f7d"  # after Okabe and Ito
GREY = "#6b6b6b"
BELIEF = "eval/model_belief"  # what a reward model takes the score to be, where one pays
STYLE = {
    "axes.edgecolor": "#8a8a8a",
    "axes.labelcolor": INK,
    "grid.color": "#e6e6e6",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Panel:
    """One diagnostic against what was spent."""

    title: str
    unit: str
    keys: tuple[str, ...]  # the first probe of these that the run has
    color: str
    reference: float | None = None  # a value to compare with, which the unit's text explains
    lowest: float = -math.inf  # where the axis ends at the latest, whatever lies below
    at_evaluations: bool = False  # known there alone, so the points between are no gaps


GATE = Panel("Gate", "share of gradient kept; dashed: all of it", ("gate",), ORANGE, 1.0)
TEXT = (
    Panel("Entropy", "nats per token", ("entropy/token", "entropy"), GREEN),
    GATE,
    Panel("Length", "tokens per completion", ("len/mean", "length"), PURPLE),
)
CONTROL = (  # the first three that a run has
    Panel("Entropy", "nats per action", ("entropy/token", "entropy/policy"), GREEN),
    GATE,
    Panel("Overestimation", "value less return; dashed: none", ("q/overestimation",), ORANGE, 0.0, at_evaluations=True),
    Panel("Critic", "share of returns explained; dashed: all", ("value/explained_var",), PURPLE, 1.0, lowest=-1.0),
    Panel("Conservative gap", "of all over the logged action", ("cql/gap",), PURPLE),
    Panel("Cloning", "loss on the logged actions", ("bc/loss",), GREEN),
    Panel("Temporal difference", "mean absolute error", ("td/abs_mean",), PURPLE),
    Panel("Action gap", "best value less the second", ("q/action_gap",), GREEN),
    Panel("Length", "steps per evaluated episode", ("eval/length",), PURPLE, at_evaluations=True),
    Panel("Gradient", "norm before clipping", ("grad/norm", "grad/norm_policy"), ORANGE),
)


def draw(records: Sequence[Record], title: str, path: Path, unit: str = "samples") -> None:
    """Writes a PNG of four panels, 1200 pixels wide: the score and three diagnostics against what was spent.

    `unit` is that of the budget: of text ("samples") the tokens are shown. Raises ValueError where there are no records, and StoreError
    where the file cannot be written.
    """
    if not records:
        raise ValueError(f"no records to draw for {title!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure_of(records, title, unit).savefig(path, format="png", metadata={"Software": None})
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}; choose another place or free some space") from error


def figure_of(records: Sequence[Record], title: str, unit: str = "samples") -> Figure:
    """The same picture as an object, styled without touching the global style."""
    import seaborn
    from matplotlib import rc_context

    with seaborn.axes_style("whitegrid", STYLE), rc_context({"font.size": 10, "font.family": "DejaVu Sans"}):
        return _figure(records, title, unit)


def _figure(records: Sequence[Record], title: str, unit: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(8, 5.4), dpi=150, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.03)  # type: ignore[call-arg, union-attr]
    figure.suptitle(title, x=0.012, ha="left", fontsize=min(13, 13 * 72 / max(1, len(title))), fontweight="bold")
    axes = figure.subplots(2, 2, sharex=True)
    _score(axes[0, 0], records)
    for axis, panel in zip(axes.flat[1:], _panels(records, unit), strict=True):
        _diagnostic(axis, panel, records)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(length=0, labelsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tokens_text(value)))
    last = max(record.tokens for record in records)  # a control run's tokens are its environment or gradient steps
    axes[0, 0].set_xlim(-0.02 * max(last, 1), 1.04 * max(last, 1))
    for axis in axes[1]:
        axis.set_xlabel("tokens generated for training" if unit == "samples" else f"{unit} of training", fontsize=9)
    return figure


def _panels(records: Sequence[Record], unit: str) -> Sequence[Panel]:
    """Text has always the same three, with a word where one is not defined; elsewhere those that are."""
    if unit == "samples":
        return TEXT
    known = {key for record in records for key in record.probes}
    return sorted(CONTROL, key=lambda panel: known.isdisjoint(panel.keys))[:3]


def tokens_text(count: float) -> str:
    """1500 as 1.5k, 2000000 as 2M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= size:
            return f"{count / size:.4g}{letter}"
    return f"{count:.4g}"


def _score(axis: Axes, records: Sequence[Record]) -> None:
    trained = [(r.tokens, r.train_score) for r in records if r.step > 0 and r.train_score is not None]
    judged = [(r.tokens, r.eval_score) for r in records if r.eval_score is not None]
    believed = [(r.tokens, r.probes[BELIEF]) for r in records if BELIEF in r.probes]
    _heading(axis, "Score", _scale(records))
    if trained:
        axis.plot(*zip(*trained, strict=True), color=PALE, linewidth=1.1, marker="." if len(trained) == 1 else None)
    if judged:
        axis.plot(*zip(*judged, strict=True), color=BLUE, linewidth=2, marker="o", markersize=5, markeredgecolor="white", zorder=3)
    if believed:
        axis.plot(*zip(*believed, strict=True), color=ORANGE, linewidth=1.5, linestyle=(0, (3, 2)))
    values = [value for _, value in (*trained, *judged, *believed)]
    if values and min(values) >= 0 and max(values) <= 1:
        axis.set_ylim(0, min(1.02, max(0.1, 1.15 * max(values))))
    bottom, top = axis.get_ylim()
    if judged:
        lift = -15 if judged[-1][1] > bottom + 0.9 * (top - bottom) else 8
        side = "left" if len(judged) == 1 else "right"
        axis.annotate(
            f"{judged[-1][1]:.2f}", judged[-1], (0, lift), textcoords="offset points", ha=side, color=BLUE, fontsize=9, fontweight="bold"
        )
    late = [(value - bottom) / (top - bottom) for line in (trained, judged, believed) for _, value in line[len(line) // 2 :]]
    low = sum(height < 0.2 for height in late) > sum(height > 0.8 for height in late)
    mine = "evaluated" if any("eval/return" in record.probes for record in records) else "held-out"
    names = [("believed", ORANGE)] * bool(believed) + [(mine, BLUE)] * bool(judged) + [("training", "#5f9fc4")] * bool(trained)
    _names(axis, names, "upper right" if low else "lower right")


def _scale(records: Sequence[Record]) -> str:
    """What a score is."""
    judged = [r for r in records if r.eval_score is not None and "eval/return" in r.probes]
    if not judged:
        return "mean verdict"
    return "mean return" if all(r.eval_score == r.probes["eval/return"] for r in judged) else "0: random, 1: known to be reached"


def _names(axis: Axes, names: Sequence[tuple[str, str]], place: str) -> None:
    """The lines' names in the lines' colors, where the late part of the curve leaves room."""
    from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea

    words: list[Artist] = [TextArea(name, textprops={"color": color, "fontsize": 9, "fontweight": "bold"}) for name, color in names]
    box = AnchoredOffsetbox(loc=place, child=HPacker(children=words, sep=10, pad=0), pad=0.25, borderpad=0.4)
    box.patch.set(edgecolor="none", facecolor="white", alpha=0.85)
    axis.add_artist(box)


def _diagnostic(axis: Axes, panel: Panel, records: Sequence[Record]) -> None:
    _heading(axis, panel.title, panel.unit)
    key = next((key for key in panel.keys if any(key in record.probes for record in records)), None)
    if key is None:
        text = "not defined for this rule" if any(record.step for record in records) else "no training step yet"
        axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color=GREY)
        axis.set_yticks([])
        axis.grid(visible=False)
        return
    records = [record for record in records if key in record.probes or not panel.at_evaluations]
    values = [record.probes.get(key, math.nan) for record in records]  # a step without the probe is a gap in the line
    axis.plot([record.tokens for record in records], values, color=panel.color, linewidth=1.5, marker="." if len(records) < 40 else None)
    present = [value for value in values if not math.isnan(value)]
    seen = present if panel.reference is None else [*present, panel.reference]
    low, high = min(seen), max(seen)
    pad = max(0.12 * (high - low), 0.02 * abs(high), 1e-3)
    axis.set_ylim(max(0.0, low - pad) if low >= 0 else max(panel.lowest, low - pad), high + pad)
    if panel.reference is not None:
        axis.axhline(panel.reference, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        if max(present) <= panel.reference:  # nothing to read above it
            bottom = axis.get_ylim()[0]
            axis.set_yticks([tick for tick in axis.get_yticks() if bottom <= tick <= panel.reference + 1e-9])


def _heading(axis: Axes, title: str, unit: str) -> None:
    axis.set_title(title, loc="left", fontsize=10.5, fontweight="bold", pad=7)
    axis.set_title(unit, loc="right", fontsize=9, color=GREY, pad=7)
