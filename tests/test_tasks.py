"""The shipped tasks against checkers that recompute every answer from the prompt's text alone."""

from __future__ import annotations

import hashlib
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

LARGE = Countdown(tier="full", **Countdown.presets["full"])
TASKS = {name: registry.load("tasks", name)() for name in registry.names("tasks") if name != "math"}  # which test_math.py gives its data
TASKS |= {"countdown at the full tier": LARGE}
CONTRACTS = [(name, *promise) for name, task in TASKS.items() for promise in checks.contracts("tasks", task)]


@pytest.mark.parametrize(("name", "title", "contract"), CONTRACTS, ids=[f"{title}-{name}" for name, title, _ in CONTRACTS])
def test_every_task_keeps(name: str, title: str, contract: Any) -> None:
    try:
        contract(TASKS[name])
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


def worth(numbers: list[Fraction]) -> set[Fraction]:
    """Everything that numbers come to, by trying every pair and operation."""
    if len(numbers) == 1:
        return set(numbers)
    found = set()
    for i, j in permutations(range(len(numbers)), 2):
        a, b, rest = numbers[i], numbers[j], [n for k, n in enumerate(numbers) if k not in (i, j)]
        for value in (a + b, a - b, a * b, *([a / b] if b else [])):
            found |= worth([*rest, value])
    return found


def test_every_countdown_of_the_full_tier_can_be_won_and_says_so_in_words() -> None:
    sizes = set()
    for problem in islice(LARGE.problems("heldout", 0), 20):
        target, *numbers = map(int, re.findall(r"\d+", problem.prompt.partition(". You may")[0]))
        assert (numbers, target) == (problem.facts["numbers"], problem.facts["target"])
        assert target in worth([Fraction(n) for n in numbers]) and 10 <= target <= 99 and max(numbers) <= 99
        sizes.add(len(numbers))
    assert sizes == {3, 4}


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        ("#### (8 - 5) * 7 / 3", 1, 1),
        ("#### 7 / (3 / (8 - 5))", 1, 1),  # through a fraction of its own
        ("So it is 7.\n**(8-5)*7/3 = 7**", 0, 1),
        ("#### $(8-5)*7/3$\nThat is 7.", 0, 1),
        ("#### (8-5)*7/3 #### 8", 0, 0),
        ("#### 7/3*(8-5)*1", 0, 0),
        ("#### 7", 0, 0),
        ("#### 7/(8-5-3)", 0, 0),
    ],
)
def test_countdown_of_the_full_tier_divides_exactly(text: str, strict: int, lenient: int) -> None:
    score = LARGE.score(Problem("x", "", "", {"numbers": [3, 5, 7, 8], "target": 7}), text)
    assert (score.correct, score.parts["lenient"]) == (strict, lenient)


def test_countdown_says_what_it_cannot_make() -> None:
    with pytest.raises(ValueError, match=r"gave no train problem .* raise number_max or target_max"):
        next(Countdown(tier="full", numbers=2, number_max=2).problems("train", 0))
    for wrong in ({"fewest": 3}, {"tier": "full", "fewest": 4}, {"tier": "full", "fewest": 1}):
        with pytest.raises(ValueError, match="fewest is"):
            Countdown(**wrong)


def test_a_new_tier_left_the_tiny_one_as_it_was() -> None:
    """The first held-out problems of the tiny countdown, digested before it had another tier."""
    told = repr([(p.id, p.prompt, p.answer, p.facts) for p in islice(Countdown().problems("heldout", 0), 100)])
    assert hashlib.sha256(told.encode()).hexdigest()[:12] == "601eef42374e"
    assert (Countdown().cap, GSM8K().cap, Countdown().protocol(), GSM8K().protocol()) == (28, 32, None, None)


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
