"""The real GSM8K problems (arXiv 2110.14168, MIT licence) behind the full tier of `gsm8k`."""

from __future__ import annotations

from typing import Any

from tasks import answers
from tasks.data import DataSet, Pinned, Row, refused

DATASET = "openai/gsm8k"
REVISION = "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"
FORM = '{"question": text, "answer": text}'


def read(item: Any, place: str) -> Row:
    """Raises ValueError for an item that is no question with an answer ending in '#### N'."""
    question, answer = (item.get("question"), item.get("answer")) if isinstance(item, dict) else (None, None)
    if not isinstance(question, str) or not isinstance(answer, str) or not question.strip():
        raise refused(item, place, FORM)
    if answers.strict(answer) is None:
        raise ValueError(f"{place}: the answer ends in {answer[-40:]!r}, but must end in '#### ' and a number; mend or delete it")
    return question, answer, answer.partition(answers.MARKER)[2].strip()


DATA = DataSet(
    name="gsm8k",
    title="GSM8K",
    train=Pinned(DATASET, REVISION, "train", 7473, ("main",)),
    test=Pinned(DATASET, REVISION, "test", 1319, ("main",)),
    read=read,
    form="a question and an answer ending in '#### N'",
    otherwise="The tiny tier (--tier tiny) needs none of them. ",
)
problems, split_rows, load = DATA.problems, DATA.split_rows, DATA.load
