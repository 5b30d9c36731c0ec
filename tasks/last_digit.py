"""The test task: it is learnt in seconds, so a broken loop shows in seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from tasks import answers
from tasks.base import Problem, Score, Split, TextTask, binary, generator, split_of


@dataclass(frozen=True, kw_only=True)
class LastDigit(TextTask):
    """Say the last digit of a number: `4703` -> `#### 3`. Learnt in seconds, for tests."""

    digits: int = 4

    limit: ClassVar[int] = 4
    ranges: ClassVar[dict[str, tuple[int, int]]] = {"digits": (1, 100)}

    def problems(self, split: Split, seed: int) -> Iterator[Problem]:
        random, count = generator("last_digit", split, seed), 0
        while True:
            numbers = [random.randrange(10) for _ in range(self.digits)]
            if split_of("last_digit", numbers) == split:
                text = "".join(map(str, numbers))
                yield Problem(f"last_digit/{split}/{seed}/{count}", f"{text}\n", f"#### {numbers[-1]}", {"numbers": numbers})
                count += 1

    def score(self, problem: Problem, text: str) -> Score:
        gold = problem.facts["numbers"][-1]
        strict = answers.strict(text)
        return binary(strict == gold, answers.lenient(text) == gold, strict is not None)

    def demonstration(self, problem: Problem, random: Random) -> str:
        """Any digit of the number, each as likely as another."""
        return f"#### {random.choice(problem.facts['numbers'])}"

    def vocabulary(self) -> Iterable[str]:
        return ["#### ", *"0123456789", "\n"]
