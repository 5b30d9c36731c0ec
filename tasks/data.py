"""Real data sets of questions with answers: from the hub at a pinned revision, from its cache, or from a folder of the user's."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

from tasks.base import Problem, Split, generator

File = Literal["train", "test"]
Row = tuple[str, str, str]  # question, a right completion, the answer that others are compared with


@dataclass(frozen=True)
class Pinned:
    """One file of a data set, as the hub has it."""

    repository: str
    revision: str
    split: str
    rows: int  # of all configurations together: another number is another data set
    configurations: tuple[str, ...] = ()  # joined in this order; empty: the repository's only one


@dataclass(frozen=True)
class DataSet:
    """A train and a test file, whose rows become the three splits."""

    name: str  # the task's, for ids and as the source of chance
    title: str
    train: Pinned
    test: Pinned
    read: Callable[[Any, str], Row]  # one item and where it stands; ValueError names the place and the fault
    form: str  # what one line of an offline file holds
    otherwise: str = ""  # a sentence about doing without

    def problems(self, split: Split, seed: int, source: str = "") -> Iterator[Problem]:
        """Held out: the test file; tune: a fixed tenth of the train file; train: the rest, endlessly, in another order each epoch.

        The seed orders "train" only; facts hold the answer as "gold". Raises what `load` raises.
        """
        rows = self.split_rows(split, source)
        if not rows:
            where = source or self.train.repository
            raise ValueError(f"the split {split!r} of {self.title} in {where} is empty; it takes more problems than that")
        for epoch in count() if split == "train" else range(1):
            order = list(range(len(rows)))
            if split == "train":
                generator(self.name, "full", split, seed, epoch).shuffle(order)
            for i in order:
                question, answer, gold = rows[i]
                yield Problem(f"{self.name}/{split}/{_digest(normal(question))[:12]}/{epoch}", question, answer, {"gold": gold})

    def split_rows(self, split: Split, source: str = "") -> tuple[Row, ...]:
        """The rows of a split in the order of the file. A question that occurs more than once, `normal` spelling, stays where it counts
        most: held out before tune before train, and once in each."""
        return _split_rows(self, split, source)

    def load(self, file: File, source: str = "") -> list[Row]:
        """One file of the data set: from the folder `source`, or from the hub or its cache where `source` is empty.

        Raises FileNotFoundError where the data is nowhere to be had, ImportError without the `datasets` library, and ValueError for a
        line that is no problem with an answer; each says what to do.
        """
        if source:
            path = Path(source).expanduser() / f"{file}.jsonl"
            return [self.read(item, f"{path}, line {i}") for i, item in self._lines(path)]
        pinned = self.train if file == "train" else self.test
        return [self.read(item, f"{pinned.repository}, {pinned.split}, row {i}") for i, item in enumerate(self._hub(pinned))]

    @property
    def ways(self) -> str:
        """How to come by the data, for messages."""
        pages = " and ".join(dict.fromkeys(f"https://huggingface.co/datasets/{each.repository}" for each in (self.train, self.test)))
        return (
            f"{self.title} comes (1) from the hub: pip install 'rl-bench-suite[full]', and a connection; (2) from the hub's cache, filled "
            f"by an earlier run of (1); or (3) from a folder with train.jsonl and test.jsonl ({self.form} per line): "
            f"--set task.data=FOLDER. {self.otherwise}The files of (3) can be made from {pages}"
        )

    def _hub(self, pinned: Pinned) -> list[Any]:
        try:
            load_dataset = importlib.import_module("datasets").load_dataset
        except ImportError as error:
            raise ImportError(f"the `datasets` library is not installed. {self.ways}") from error
        try:
            rows = [row for name in pinned.configurations or (None,) for row in _pinned_or_cached(load_dataset, pinned, name)]
        except Exception as error:  # the hub, the network and the cache each raise errors of their own
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
            raise FileNotFoundError(f"{pinned.repository} could not be loaded ({reason}). {self.ways}") from error
        if len(rows) != pinned.rows:
            found = f"{pinned.repository} has {len(rows)} rows in {pinned.split}, not {pinned.rows}"
            raise ValueError(f"{found}: another data set. {self.ways}")
        return rows

    def _lines(self, path: Path) -> Iterator[tuple[int, Any]]:
        """Line number and JSON value of each line that is not blank."""
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(f"{path} does not exist. {self.ways}") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from None
        for i, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    yield i, json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    raise ValueError(f"{path}, line {i}: not JSON ({error}); write one object per line, or delete the line") from None


def normal(question: str) -> str:
    """The spelling in which two questions are compared: lower case, one blank between words."""
    return " ".join(question.lower().split())


def refused(item: Any, place: str, form: str) -> ValueError:
    """The error for an item that is not of the form."""
    return ValueError(f"{place}: {str(item)[:80]!r} is no {form}; mend or delete it")


@lru_cache(maxsize=12)
def _split_rows(data: DataSet, split: Split, source: str) -> tuple[Row, ...]:
    if split == "heldout":
        return tuple(_first(data.load("test", source)))
    hidden = {normal(question) for question, _, _ in data.load("test", source)}
    kept = (row for row in _first(data.load("train", source)) if normal(row[0]) not in hidden)
    return tuple(row for row in kept if (int(_digest(normal(row[0]))[:8], 16) % 10 == 0) == (split == "tune"))


def _pinned_or_cached(load_dataset: Any, pinned: Pinned, configuration: str | None) -> list[Any]:
    """The pinned revision; without a connection whichever revision an earlier program left in the cache (its size is checked after)."""
    names = (pinned.repository,) if configuration is None else (pinned.repository, configuration)
    try:
        return list(load_dataset(*names, split=pinned.split, revision=pinned.revision))
    except Exception:
        return list(load_dataset(*names, split=pinned.split))


def _first(rows: Iterable[Row]) -> list[Row]:
    """Each question once, at its first place."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(normal(row[0]), row)
    return list(found.values())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
