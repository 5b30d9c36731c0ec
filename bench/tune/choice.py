"""From the scores of a grid to a choice, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.sweep.cells import Cell
from bench.sweep.tally import Known, Tally, score
from bench.tune.grid import Grid

Point = tuple[str, ...]


@dataclass(frozen=True)
class Tried:
    """One algorithm at one point of the grid."""

    algorithm: str
    point: Point
    runs: tuple[Known, ...]  # every task and seed

    @property
    def complete(self) -> bool:
        """Whether every run has come to an end, be it a good one or not."""
        return all(run.state in ("finished", "diverged") for run in self.runs)

    @property
    def diverged(self) -> int:
        """Runs that left the finite numbers; a point that has one is not chosen."""
        return sum(run.state == "diverged" for run in self.runs)

    @property
    def by_seed(self) -> list[float]:
        """Each seed's mean score over the tasks."""
        seeds = dict.fromkeys(run.spec.seed for run in self.runs)
        return [mean(_score(run) for run in self.runs if run.spec.seed == seed) for seed in seeds]

    @property
    def score(self) -> float:
        """The mean over tasks and seeds; NaN where one has no score."""
        return mean(self.by_seed)


def _score(run: Known) -> float:
    return math.nan if run.state != "finished" or run.score is None else run.score


def gather(points: Mapping[Point, Sequence[Cell]], tally: Tally) -> dict[str, list[Tried]]:
    """What was tried, by algorithm, in the grid's order."""
    found: dict[str, list[Tried]] = {}
    for point, cells in points.items():
        for name in dict.fromkeys(cell.spec.algorithm.name for cell in cells):
            runs = tuple(tally.runs[cell.spec.run_id] for cell in cells if cell.spec.algorithm.name == name)
            found.setdefault(name, []).append(Tried(name, point, runs))
    return found


def best(tried: Sequence[Tried]) -> Tried | None:
    """The point with the highest mean score, of equals the first; None while a run is missing, or where no point has a score."""
    if not all(each.complete for each in tried):
        return None
    scored = [each for each in tried if not math.isnan(each.score)]
    return max(scored, key=lambda each: each.score, default=None)


def rivals(tried: Sequence[Tried], chosen: Tried) -> list[Tried]:
    """Points of which some seed is at least as good as some seed of the chosen one: between them, chance may have chosen."""
    low = min(chosen.by_seed)
    return [each for each in tried if each is not chosen and not math.isnan(each.score) and max(each.by_seed) >= low]


def show(found: Mapping[str, Sequence[Tried]], grid: Grid, console: Console) -> None:
    """Every point's mean and the range of its seeds, the chosen ones marked; then what to think of each choice."""
    table = Table("algorithm", show_edge=False, pad_edge=False)
    for point in grid.points():
        table.add_column("\n".join(point), justify="right")
    for name, tried in found.items():
        chosen = best(tried)
        table.add_row(name, *(_cell(each, each is chosen) for each in tried))
    console.print(table)
    for name, tried in found.items():
        chosen = best(tried)
        console.print(f"[bold]{name}[/]: {escape(verdict(tried, chosen, grid))}", highlight=False, soft_wrap=True)


def _cell(tried: Tried, chosen: bool) -> str:
    if not tried.complete:
        ended = sum(run.state in ("finished", "diverged") for run in tried.runs)
        return f"[dim]{ended} of {len(tried.runs)} runs[/]"
    if tried.diverged:
        return f"[magenta]{tried.diverged} of {len(tried.runs)} diverged[/]"
    text = f"{score(tried.score)} ({score(min(tried.by_seed))} to {score(max(tried.by_seed))})"
    return f"[bold green]{text} *[/]" if chosen else text


def verdict(tried: Sequence[Tried], chosen: Tried | None, grid: Grid) -> str:
    """What is chosen and how far to trust it, in a sentence or three."""
    if chosen is None:
        return (
            "nothing is chosen, for not every run has ended"
            if not all(t.complete for t in tried)
            else "no point of the grid is without divergence"
        )
    words, near = f"{' '.join(chosen.point)}.", rivals(tried, chosen)
    if near:
        words += f" The seeds' range overlaps with that of {', '.join(' '.join(each.point) for each in near)}."
    edges = grid.edges(chosen.point)
    if edges:
        words += f" {' and '.join(edges)} is at the edge of the grid: try further values before trusting it."
    return words
