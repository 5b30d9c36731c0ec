"""The real GSM8K problems (arXiv 2110.14168, MIT licence) behind the full tier of `gsm8k`: from the hub, its cache, or a folder."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

from tasks import answers
from tasks.base import Problem, Split, generator

File = Literal["train", "test"]
Row = tuple[str, str, str]  # question, worked answer ending in "#### N", N

DATASET = "openai/gsm8k"
REVISION = "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"  # of the hub's repository
SIZES: dict[File, int] = {"train": 7473, "test": 1319}
WAYS = (
    "GSM8K comes (1) from the hub: pip install 'rl-bench-suite[full]', and a connection; (2) from the hub's cache, filled by an earlier "
    "run of (1); or (3) from a folder with train.jsonl and test.jsonl (a question and an answer ending in '#### N' per line): "
    "--set task.data=FOLDER. The tiny tier (--tier tiny) needs none of them. The files of (3) can be made from "
    f"https://huggingface.co/datasets/{DATASET}"
)


def problems(split: Split, seed: int, source: str = "") -> Iterator[Problem]:
    """Held out: the test file; tune: a fixed tenth of the train file; train: the rest, endlessly, in another order each epoch.

    The seed orders "train" only. Raises what `load` raises.
    """
    rows = split_rows(split, source)
    if not rows:
        raise ValueError(f"the split {split!r} of GSM8K in {source or DATASET} is empty; it takes more problems than that")
    for epoch in count() if split == "train" else range(1):
        order = list(range(len(rows)))
        if split == "train":
            generator("gsm8k", "full", split, seed, epoch).shuffle(order)
        for i in order:
            question, answer, gold = rows[i]
            yield Problem(f"gsm8k/{split}/{_digest(normal(question))[:12]}/{epoch}", question, answer, {"gold": gold})


@lru_cache(maxsize=6)
def split_rows(split: Split, source: str) -> tuple[Row, ...]:
    """The rows of a split in the order of the file. A question that occurs more than once, `normal` spelling, stays where it counts most:
    held out before tune before train, and once in each."""
    if split == "heldout":
        return tuple(_first(load("test", source)))
    hidden = {normal(question) for question, _, _ in load("test", source)}
    kept = (row for row in _first(load("train", source)) if normal(row[0]) not in hidden)
    return tuple(row for row in kept if (int(_digest(normal(row[0]))[:8], 16) % 10 == 0) == (split == "tune"))


def load(split_file: File, source: str = "") -> list[Row]:
    """One file of the data set: from the folder `source`, or from the hub or its cache where `source` is empty.

    Raises FileNotFoundError where the data is nowhere to be had, ImportError without the `datasets` library, and ValueError for a line
    that is no problem with an answer; each says what to do.
    """
    if source:
        path = Path(source).expanduser() / f"{split_file}.jsonl"
        return [_row(line, f"{path}, line {i}") for i, line in _lines(path)]
    return [_row(item, f"{DATASET}, {split_file}, row {i}") for i, item in enumerate(_hub(split_file))]


def normal(question: str) -> str:
    """The spelling in which two questions are compared: lower case, one blank between words."""
    return " ".join(question.lower().split())


def _hub(split_file: File) -> list[Any]:
    try:
        load_dataset = importlib.import_module("datasets").load_dataset
    except ImportError as error:
        raise ImportError(f"the `datasets` library is not installed. {WAYS}") from error
    try:
        rows = _pinned_or_cached(load_dataset, split_file)
    except Exception as error:  # the hub, the network and the cache each raise errors of their own
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
        raise FileNotFoundError(f"{DATASET} could not be loaded ({reason}). {WAYS}") from error
    if len(rows) != SIZES[split_file]:
        raise ValueError(f"{DATASET} has {len(rows)} rows in {split_file}, not {SIZES[split_file]}: another data set. {WAYS}")
    return rows


def _pinned_or_cached(load_dataset: Any, split_file: File) -> list[Any]:
    """The pinned revision; without a connection whichever revision an earlier program left in the cache (its size is checked after)."""
    try:
        return list(load_dataset(DATASET, "main", split=split_file, revision=REVISION))
    except Exception:
        return list(load_dataset(DATASET, "main", split=split_file))


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and JSON value of each line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path} does not exist. {WAYS}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from None
    for i, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield i, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise ValueError(f"{path}, line {i}: not JSON ({error}); write one object per line, or delete the line") from None


def _row(item: Any, place: str) -> Row:
    question, answer = (item.get("question"), item.get("answer")) if isinstance(item, dict) else (None, None)
    if not isinstance(question, str) or not isinstance(answer, str) or not question.strip():
        raise ValueError(f'{place}: {str(item)[:80]!r} is no {{"question": text, "answer": text}}; mend or delete it')
    if answers.strict(answer) is None:
        raise ValueError(f"{place}: the answer ends in {answer[-40:]!r}, but must end in '#### ' and a number; mend or delete it")
    return question, answer, answer.partition(answers.MARKER)[2].strip()


def _first(rows: Iterable[Row]) -> list[Row]:
    """Each question once, at its first place."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(normal(row[0]), row)
    return list(found.values())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
