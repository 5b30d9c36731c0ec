r"""The problems of MATH (arXiv 2103.03874, MIT licence) to train on, and MATH-500 (arXiv 2305.20050) held out.

MATH-500 is a part of MATH's own test file. A problem of it that a train file has as well, in `normal` spelling, is trained on nowhere.
OpenAI's prm800k repository published it as a file with the SHA-256 35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132, which
is the hub's file at the pinned revision, too.
"""

from __future__ import annotations

from typing import Any

from tasks import math_answers
from tasks.data import DataSet, Pinned, Row, refused

SUBJECTS = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra", "precalculus")
FORM = r'{"problem": text, "solution": text with \boxed{answer}} or {"problem": text, "answer": text}'


def read(item: Any, place: str) -> Row:
    """The "answer" where there is one, else what the solution's last box holds. Raises ValueError for an item without either."""
    held = item if isinstance(item, dict) else {}
    problem, solution, answer = (held.get(name) for name in ("problem", "solution", "answer"))
    if answer is None and isinstance(solution, str):
        answer = math_answers.boxed(solution)
    if not isinstance(problem, str) or not problem.strip() or not isinstance(answer, str) or not answer.strip():
        raise refused(item, place, FORM)
    return problem, f"\\boxed{{{answer.strip()}}}", answer.strip()


DATA = DataSet(
    name="math",
    title="MATH",
    train=Pinned("EleutherAI/hendrycks_math", "21a5633873b6a120296cce3e2df9d5550074f4a3", "train", 7500, SUBJECTS),
    test=Pinned("HuggingFaceH4/MATH-500", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be", "test", 500),
    read=read,
    form=r"a problem and a solution with \boxed{answer}, or an answer,",
)
