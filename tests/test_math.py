"""MATH: where its problems come from, how its answers are read, and what hostile ones cost."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import checks
from bench.errors import MissingError
from bench.resolve import Request, resolve
from bench.verifying import Verifier
from tasks import math_answers, math_data
from tasks.base import SPLITS, Problem
from tasks.data import normal
from tasks.math import Math


def row(i: int) -> dict[str, Any]:
    return {"problem": f"What is ${i} + 1$?", "solution": f"We add: $\\boxed{{{i + 1}}}$.", "level": "Level 1"}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    twice = {"problem": "What  is $1003 + 1$?", "solution": "\\boxed{1004}"}
    for name, rows in (("train", [*map(row, range(300)), twice]), ("test", list(map(row, range(1000, 1060))))):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    return str(tmp_path)


def posed(gold: str) -> Problem:
    return Problem("x", "Why?", "", {"gold": gold, "question": "Why?"})


@pytest.mark.parametrize(("title", "contract"), [pytest.param(*pair, id=pair[0]) for pair in checks.contracts("tasks", Math())])
def test_it_keeps_what_a_task_promises(title: str, contract: Any, folder: str) -> None:
    contract(Math(data=folder))


def test_a_held_out_problem_is_never_trained_on(folder: str) -> None:
    asked = {split: {Math().key(p) for p in islice(Math(data=folder).problems(split, 0), 600)} for split in SPLITS}
    assert asked["heldout"] == {normal(row(i)["problem"]) for i in range(1000, 1060)}
    assert asked["train"] | asked["tune"] == {normal(row(i)["problem"]) for i in range(300)}


def test_the_hub_is_asked_for_every_subject_at_the_pinned_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*names: str, **options: str) -> Any:
        asked.append((*names, options["split"], options["revision"][:7]))
        return map(row, range(500 if options["split"] == "test" else 7500 if len(names) == 2 and names[1] == "algebra" else 0))

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert len(math_data.DATA.load("train")) == 7500 and len(math_data.DATA.load("test")) == 500
    subjects = [("EleutherAI/hendrycks_math", subject, "train", "21a5633") for subject in math_data.SUBJECTS]
    assert asked == [*subjects, ("HuggingFaceH4/MATH-500", "test", "6e4ed1a")] and len(subjects) == 7


@pytest.mark.parametrize(
    "item", [{}, [], {"problem": "Why?"}, {"problem": " ", "answer": "3"}, {"problem": "Why?", "solution": "It is 3."}]
)
def test_what_has_no_answer_is_refused_by_its_place(item: Any) -> None:
    with pytest.raises(ValueError, match=r"train\.jsonl, line 3: .* is no .*mend or delete it"):
        math_data.read(item, "train.jsonl, line 3")


def test_an_answer_of_its_own_wins_over_the_solutions_box() -> None:
    assert math_data.read({"problem": "Why?", "solution": "\\boxed{1}", "answer": " 2 "}, "")[1:] == ("\\boxed{2}", "2")


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("so \\boxed{a{b}c}.", "a{b}c"),
        ("\\boxed 5", "5"),
        ("\\boxed{1} or \\fbox{2}", "2"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{a \\\\}", "a \\\\"),
        ("\\boxed{", None),
        ("$\\boxed$", None),
        ("none", None),
        ("\\boxed{" * 30_000, None),
    ],
)
def test_the_box_is_read_whole(text: str, held: str | None) -> None:
    assert math_answers.boxed(text) == held


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        ("\\frac{1}{2}", "0.5", True),
        ("4a-2", "-2 + 4a", True),
        ("6290000", "6,290,000", True),
        ("48^\\circ", "48", True),
        ("\\text{Evelyn}", "Evelyn", True),
        ("(1,2)", "(2,1)", False),
        ("(1,2)", "\\{1,2\\}", False),
        ("\\left(1,2\\right)", "(1,2)", True),
        ("2", "1=2", False),
        ("5", "x=5", True),
        ("2220_5", "2220_6", False),
        ("2220_5", "2220", False),
        ("2220_5", "2220_{5}", True),
        ("1,2", "2,1", True),
        ("2", "1, 2, 3", False),
        ("2", "1 \\text{ or } 2", False),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}", True),
        ("3", "", False),
        ("3", "3" + " " * 2000, True),
        ("3", "3" + "+0" * 2000, False),  # too long to be looked at
        ("2^{3^2}", "2^{3^2}", True),
        ("512", "2^{3^2}", False),  # worked out, others of its kind fill any memory
        ("e^{x^2}", "e^{x\\cdot x}", True),
    ],
)
def test_answers_are_the_same_where_their_values_are(gold: str, answer: str, same: bool) -> None:
    assert math_answers.same(gold, answer) is same


HOSTILE = {
    "tower": "\\boxed{9^{9^{9^{9}}}}",
    "plain tower": "The answer is 9**9**9**9",
    "tower of products": "\\boxed{9^{9\\cdot 9^{9\\cdot 9^{9}}}}",
    "factorials": "\\boxed{((10!)!)!}",
    "binomial": "\\boxed{\\binom{10^{9}}{10^{8}}}",
    "brackets": "\\boxed{" + "(" * 300 + "1" + ")" * 300 + "}",
    "fractions": "\\boxed{" + "\\frac{1}{" * 60 + "2" + "}" * 60 + "}",
    "open braces": "\\boxed{" + "{" * 40_000,
    "boxes": "\\boxed{1}" * 5000,
    "matrix": "\\boxed{\\begin{pmatrix}" + "1&" * 100 + "1\\end{pmatrix}^{1000000}}",
    "python": "\\boxed{__import__('os').system('true')}",
    "surrogate": "\\boxed{\udc80}",
    "null": "\\boxed{\0}",
}


def test_a_hostile_answer_costs_itself_and_nothing_else() -> None:
    """The workers hold math-verify, whose own alarm is off: each bad answer stands between two good ones."""
    items = [(posed("7"), text) for bad in HOSTILE.values() for text in ("\\boxed{7}", bad)] + [(posed("7"), "\\boxed{\\frac{14}{2}}")]
    with Verifier(Math(), time_limit=1.0) as verifier:
        verdicts = verifier.score(items)
    assert [verdict.correct for verdict in verdicts] == [1.0, 0.0] * len(HOSTILE) + [1.0]
    late = {name for name, verdict in zip(HOSTILE, verdicts[1::2], strict=False) if "timeout" in verdict.parts}
    assert {"tower of products", "binomial"} <= late and not late & {"tower", "plain tower", "python", "null", "surrogate"}


def test_scores_in_a_worker_are_those_outside() -> None:
    items = [(posed("\\frac{1}{2}"), text) for text in ("\\boxed{0.5}", "It is 1/2", "\\boxed{x}", "")]
    with Verifier(Math(), time_limit=10) as verifier:
        assert verifier.score(items) == [Math().score(*item) for item in items]


def test_without_math_verify_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(MissingError, match=r'math-verify \(pip install "rl-bench-suite\[math\]"\)'):
        resolve(Request(algorithm="grpo", task="math", model="base:gsm8k", settings=(f"task.data={folder}",)))


def test_its_one_tier_is_full() -> None:
    spec = resolve(Request(algorithm="grpo", task="math", model="base:gsm8k"))
    assert (spec.tier, spec.table, spec.task.settings) == ("full", "math-full", {"data": ""})


@pytest.mark.network
def test_the_hub_has_the_rows() -> None:
    assert (len(math_data.DATA.load("train")), len(math_data.DATA.load("test"))) == (7500, 500)
