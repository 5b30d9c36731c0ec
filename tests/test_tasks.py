"""The shipped tasks against checkers that recompute every answer from the prompt's text alone."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import islice, permutations, product
from random import Random
from typing import Any

import pytest

from bench import checks, registry
from bench.checks.expect import DoesNotApply
from tasks.base import SPLITS, Problem, TextTask
from tasks.countdown import Countdown
from tasks.gsm8k import GSM8K
from tasks.word_problems import work

CONTRACTS = [(name, *promise) for name in registry.names("tasks") for promise in checks.contracts("tasks", registry.load("tasks", name)())]
NAMES = [name for name in registry.names("tasks") if issubclass(registry.load("tasks", name), TextTask)]


@pytest.mark.parametrize(("name", "title", "contract"), CONTRACTS, ids=[f"{title}-{name}" for name, title, _ in CONTRACTS])
def test_every_task_keeps(name: str, title: str, contract: Any) -> None:
    try:
        contract(registry.load("tasks", name)())
    except DoesNotApply as reason:
        pytest.skip(f"{name}: {reason}")


def recomputed_sum(problem: Problem) -> str:
    return str(sum(map(int, problem.prompt.removesuffix("=").split("+"))))


def recomputed_last_digit(problem: Problem) -> str:
    return problem.prompt.strip()[-1]


def recomputed_story(problem: Problem) -> str:
    """Reads the story sentence by sentence, as a child would."""
    held = 0
    for sentence in re.split(r"(?<=[.?]) ?", problem.prompt.strip()):
        found = [int(n) for n in re.findall(r"\d+", sentence)]
        if " boxes " in sentence:
            held = found[0] * found[1]
        elif re.fullmatch(r"\w+ has \d+ \w+\.", sentence):
            held = found[0]
        elif " more than " in sentence or " fewer than " in sentence:
            held = held + held + (found[0] if " more " in sentence else -found[0])
        elif "doubles" in sentence:
            held *= 2
        elif re.search(r"buys|finds|gives \w+ \d+\.", sentence):
            held += found[0]
        elif re.search(r"loses|sells|gives \d+ to", sentence):
            held -= found[0]
        else:
            assert re.fullmatch(r"(How many .*\?)?", sentence), sentence
    return str(held)


@pytest.mark.parametrize(
    ("name", "recomputed"), [("chain_sum", recomputed_sum), ("last_digit", recomputed_last_digit), ("gsm8k", recomputed_story)]
)
@pytest.mark.parametrize("split", SPLITS)
def test_the_answer_is_the_one_a_second_program_finds(name: str, recomputed: Any, split: Any) -> None:
    task: TextTask = registry.load("tasks", name)()
    for problem in islice(task.problems(split, 7), 300):
        answer = recomputed(problem)
        assert problem.answer == f"#### {answer}"
        assert task.score(problem, f"#### {answer}").correct == 1
        assert task.score(problem, f"#### {int(answer) + 1}").correct == 0


def reachable(numbers: list[int], target: int) -> bool:
    """Tries every order, operation and bracketing of three numbers."""
    apply = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
    for a, b, c in permutations(map(Fraction, numbers)):
        for f, g in product(apply.values(), repeat=2):
            if target in (g(f(a, b), c), g(a, f(b, c))):
                return True
    return False


def test_every_countdown_can_be_won() -> None:
    for problem in islice(Countdown().problems("heldout", 0), 300):
        *numbers, target = map(int, re.findall(r"\d+", problem.prompt))
        assert reachable(numbers, target)


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        ("#### (5+2)*3", 1, 1),
        ("5+2=7,7*3=21\n#### (5+2)*3", 1, 1),
        ("3*(2+5)", 0, 1),
        ("#### (5+2)*3 = 21", 0, 1),
        ("#### 7*3", 0, 0),  # not the given numbers
        ("#### 5+2*3*1", 0, 0),  # a number too many
        ("#### 3*5+2", 0, 0),  # misses
        ("#### 3*5+2 #### (5+2)*3", 0, 1),  # hedges
        ("#### 21", 0, 0),
        ("#### __import__('os').getpid()", 0, 0),
    ],
)
def test_countdown_scores(text: str, strict: int, lenient: int) -> None:
    problem = Problem("x", "3 5 2 = 21\n", "", {"numbers": [3, 5, 2], "target": 21})
    score = Countdown().score(problem, text)
    assert (score.correct, score.parts["lenient"]) == (strict, lenient)


def test_demonstrators_are_mixed_and_imperfect() -> None:
    """Some blurt and some work, both are sometimes wrong, and working is right more often: what a base model needs."""
    for name in ("gsm8k", "chain_sum", "countdown"):
        task: TextTask = registry.load("tasks", name)()
        random, right = Random("demonstrations"), {True: [], False: []}
        for problem in islice(task.problems("train", 0), 600):
            text = task.demonstration(problem, random)
            right[not text.startswith("####")].append(task.score(problem, text).correct)
        share = len(right[True]) / 600
        worked, blurted = (sum(right[kind]) / len(right[kind]) for kind in (True, False))
        assert 0.35 < share < 0.6, name
        assert 0 < blurted < 0.5 < worked <= 1, name


def test_a_slip_is_carried_on() -> None:
    steps = [[5, "+", 2], ["#0", "*", 3], ["#1", "-", "#0"]]
    assert work(steps) == [7, 21, 14]
    assert work(steps, [1, 0, 0]) == [8, 24, 16]


def test_the_full_tier_has_no_demonstrators() -> None:
    problem = Problem("x", "How many?", "#### 1", {"gold": "1"})
    with pytest.raises(ValueError, match="no demonstrators"):
        GSM8K(tier="full").demonstration(problem, Random(0))
