"""What a metric is: a learning curve in, a number out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[numpy.float64]
Curve = Mapping[str, FloatArray]  # columns by name, each with one value a record, in order of step; NaN: there is none
Table = Mapping[str, ArrayLike]  # anything with columns by name, a pandas.DataFrame too; rows in any order


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """One number for a run, or for all seeds of an algorithm together. Fields are its settings.

    Columns are the fields of a record, probes by name, `budget` (the same in every row) and `diverged` (1 in every row of a run that left
    the finite numbers, else 0). A need "a|b" is met by the first of the two that has values; `measure` finds it as "a".
    """

    better: ClassVar[Literal["higher", "lower"]]
    scope: ClassVar[Literal["run", "seeds"]]
    needs: ClassVar[tuple[str, ...]]  # columns without which there is no number
    also: ClassVar[tuple[str, ...]] = ()  # columns that are looked at where there are any
    joint: ClassVar[bool] = True  # whether only rows with all that is needed count; else all rows do, gaps included

    @abstractmethod
    def __call__(self, given: Any) -> float:
        """The metric of what its scope names; NaN where it is undefined."""

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Every column that may be read, `step` among them."""
        return ("step", *(name for need in (*cls.needs, *cls.also) for name in need.split("|")))

    def read(self, table: Table) -> Curve | None:
        """What `measure` may look at, in order of step: the columns needed and looked at. None where one is missing or no row counts.

        A value that is not finite counts as none. Raises ValueError where columns differ in length, TypeError for what is no table.
        """
        if isinstance(table, str | list | tuple):  # else `in` would look for something else in it
            raise TypeError(f"a curve is columns by name, not {type(table).__name__}; scope 'run' takes one, scope 'seeds' a list of them")
        wanted = {need: _first(table, need) for need in self.needs}
        if any(column is None for column in wanted.values()):
            return None
        found = wanted | {need: _first(table, need) for need in self.also}
        columns = {need.partition("|")[0]: column for need, column in found.items() if column is not None}
        columns = _ordered(columns, table)
        if self.joint:
            columns = _filled(columns, [need.partition("|")[0] for need in self.needs])
        return columns if len(next(iter(columns.values()))) else None


@dataclass(frozen=True, kw_only=True)
class RunMetric(Metric):
    """One number for a run."""

    scope: ClassVar[Literal["run", "seeds"]] = "run"

    def __call__(self, given: Table) -> float:
        """The metric of one curve, left as it is; NaN where a needed column is missing or no row has all of them."""
        curve = self.read(given)
        return math.nan if curve is None else float(self.measure(curve))

    @abstractmethod
    def measure(self, curve: Curve) -> float:
        """The metric of at least one row, in order of step, with every needed value present where `joint`. NaN where it is undefined."""


@dataclass(frozen=True, kw_only=True)
class SeedsMetric(Metric):
    """One number for the seeds of one specification, whatever their order."""

    scope: ClassVar[Literal["run", "seeds"]] = "seeds"

    def __call__(self, given: Sequence[Table]) -> float:
        """The metric of one curve for each seed, left as they are; those that lack what is needed are left out. NaN where none is left."""
        curves = [curve for curve in map(self.read, given) if curve is not None]
        return float(self.measure(curves)) if curves else math.nan

    @abstractmethod
    def measure(self, curves: Sequence[Curve]) -> float:
        """The metric of at least one curve, each as `RunMetric.measure` gets them. NaN where it is undefined."""


def _first(table: Table, need: str) -> FloatArray | None:
    """The first of a need's columns that has a value; what is not finite is NaN."""
    for name in need.split("|"):
        if name in table:
            column = numpy.asarray(table[name], dtype=numpy.float64)
            finite = numpy.isfinite(column)
            if finite.any():
                return column if finite.all() else numpy.where(finite, column, numpy.nan)
    return None


def _filled(columns: dict[str, FloatArray], needed: Sequence[str]) -> dict[str, FloatArray]:
    """The rows with every needed value."""
    present = ~numpy.isnan(columns[needed[0]])
    for name in needed[1:]:
        present &= ~numpy.isnan(columns[name])
    return columns if present.all() else {name: column[present] for name, column in columns.items()}


def _ordered(columns: dict[str, FloatArray], table: Table) -> dict[str, FloatArray]:
    """The columns in order of step; as they come where there is none."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of a curve have one value for each record; these have {lengths}")
    if "step" not in table:
        return columns
    step = numpy.asarray(table["step"], dtype=numpy.float64)
    if not (step[1:] < step[:-1]).any():
        return columns
    order = numpy.argsort(step, kind="stable")
    return {name: column[order] for name, column in columns.items()}
