"""Task contracts bite: each task here breaks the ones it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import ClassVar

import pytest
from breaking import broken_by

from bench import checks
from tasks.base import Problem, Score, Split, TextTask, binary, generator, split_of
from tasks.last_digit import LastDigit


@dataclass(frozen=True, kw_only=True)
class Adds(TextTask):
    """Adds two numbers: sound."""

    def draw(self, split: Split, seed: int) -> Random:
        return generator("adds", split, seed)

    def problems(self, split: Split, seed: int) -> Iterator[Problem]:
        random, number = self.draw(split, seed), count()
        while True:
            pair = [random.randrange(200), random.randrange(200)]
            if self.belongs(pair, split):
                yield Problem(f"adds/{split}/{seed}/{next(number)}", f"{pair[0]}+{pair[1]}=", f"#### {sum(pair)}", {"numbers": pair})

    def belongs(self, pair: list[int], split: Split) -> bool:
        return split_of("adds", pair) == split

    def score(self, problem: Problem, text: str) -> Score:
        right = text.strip() == problem.answer
        return binary(right, right, text.startswith("#### "))

    def demonstration(self, problem: Problem, random: Random) -> str:
        return f"#### {sum(problem.facts['numbers']) + random.randrange(2)}"

    def vocabulary(self) -> Iterable[str]:
        return ["#### ", *"0123456789", "+", "="]


class Counted(Random):
    """Numbers that go on from the seed: neighbouring seeds give nearly the same problems."""

    def __init__(self, start: int) -> None:
        super().__init__(0)
        self.start = start

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        self.start += 1
        return Random(f"number:{self.start}").randrange(start)


class SeedsRunTogether(Adds):
    def draw(self, split: Split, seed: int) -> Random:
        return Counted(2 * seed)


class SplitsOverlap(Adds):
    def belongs(self, pair: list[int], split: Split) -> bool:
        return True


class SplitsByOrder(Adds):
    def belongs(self, pair: list[int], split: Split) -> bool:
        return ("train" if pair[0] > pair[1] else "heldout" if pair[0] % 2 else "tune") == split


class DrawsAnew(Adds):
    def draw(self, split: Split, seed: int) -> Random:
        return Random()


class WrongGold(Adds):
    def score(self, problem: Problem, text: str) -> Score:
        right = text.strip() == f"#### {problem.facts['numbers'][0]}"
        return binary(right, right, text.startswith("#### "))


class PaysForTheMark(Adds):
    def score(self, problem: Problem, text: str) -> Score:
        right = text.strip() == problem.answer
        return replace(binary(right, right, False), reward=1.0 if right else 0.1 if "####" in text else 0.0)


class PaysTwo(Adds):
    def score(self, problem: Problem, text: str) -> Score:
        right = text.strip() == problem.answer
        return replace(binary(right, right, right), reward=2.0 * right)


class NoLenient(Adds):
    def score(self, problem: Problem, text: str) -> Score:
        right = float(text.strip() == problem.answer)
        return Score(right, right, {"strict": right, "format": right})


class NoFormat(Adds):
    def score(self, problem: Problem, text: str) -> Score:
        right = float(text.strip() == problem.answer)
        return Score(right, right, {"strict": right, "lenient": right})


class FactsAreTuples(Adds):
    def problems(self, split: Split, seed: int) -> Iterator[Problem]:
        for p in super().problems(split, seed):
            yield Problem(p.id, p.prompt, p.answer, {"numbers": tuple(p.facts["numbers"])})


class LacksADigit(Adds):
    def vocabulary(self) -> Iterable[str]:
        return ["#### ", *"012345678", "+", "="]


class TooLong(Adds):
    limit: ClassVar[int] = 3


class AlwaysRight(Adds):
    def demonstration(self, problem: Problem, random: Random) -> str:
        return problem.answer


TASKS: list[tuple[TextTask, set[str]]] = [
    (Adds(), set()),
    (LastDigit(), set()),
    (SeedsRunTogether(), {"seeds_share_little"}),
    (SplitsOverlap(), {"splits_share_nothing"}),
    (SplitsByOrder(), {"splits_share_nothing"}),
    (DrawsAnew(), {"are_reproducible"}),
    (WrongGold(), {"right_answers_count"}),
    (PaysForTheMark(), {"garbage_counts_nothing"}),
    (PaysTwo(), {"right_answers_count", "scores_are_shares"}),
    (NoLenient(), {"right_answers_count", "scores_are_shares"}),
    (NoFormat(), {"scores_are_shares"}),
    (FactsAreTuples(), {"travels_to_workers"}),
    (LacksADigit(), {"demonstrations_fit"}),
    (TooLong(), {"demonstrations_fit"}),
    (AlwaysRight(), {"demonstrations_err"}),
]


@pytest.mark.parametrize(("task", "expected"), TASKS, ids=lambda x: type(x).__name__)
def test_task_contracts_catch(task: TextTask, expected: set[str]) -> None:
    found = broken_by(task, checks.contracts("tasks", task))
    assert found == expected if not expected else expected <= found


def test_every_task_contract_is_broken_by_something() -> None:
    general = {"survive_json", "are_frozen", "has_a_summary"}
    assert set().union(*(expected for _, expected in TASKS)) == {c.__name__ for _, c in checks.contracts("tasks", Adds())} - general
