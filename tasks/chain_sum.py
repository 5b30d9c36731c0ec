"""Running totals: a task that rewards working step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import ClassVar

from tasks import answers
from tasks.base import Problem, Score, Split, TextTask, binary, generator, split_of


@dataclass(frozen=True, kw_only=True)
class ChainSum(TextTask):
    """Add up a chain of small numbers: `13+4+7+1+5=` -> `17,24,25,30` and `#### 30`."""

    terms: int = 5
    first_max: int = 20
    term_max: int = 9

    limit: ClassVar[int] = 24
    ranges: ClassVar[dict[str, tuple[int, int]]] = {"terms": (2, 50), "first_max": (2, 10_000), "term_max": (1, 10_000)}

    def problems(self, split: Split, seed: int) -> Iterator[Problem]:
        random, count = generator("chain_sum", split, seed), 0
        while True:
            numbers = [random.randint(2, self.first_max)] + [random.randint(1, self.term_max) for _ in range(self.terms - 1)]
            if split_of("chain_sum", numbers) == split:
                prompt = "+".join(map(str, numbers)) + "="
                yield Problem(f"chain_sum/{split}/{seed}/{count}", prompt, f"#### {sum(numbers)}", {"numbers": numbers})
                count += 1

    def score(self, problem: Problem, text: str) -> Score:
        gold = sum(problem.facts["numbers"])
        strict = answers.strict(text)
        return binary(strict == gold, answers.lenient(text) == gold, strict is not None)

    def demonstration(self, problem: Problem, random: Random) -> str:
        """Three in five blurt a sum that is off by up to 3; the others keep a running total and slip by 1 at one step in 24."""
        numbers = problem.facts["numbers"]
        if random.random() < 0.6:
            return f"#### {max(0, sum(numbers) + random.randint(-3, 3))}"
        slipped = [n + (random.choice((-1, 1)) if i and random.random() < 1 / 24 else 0) for i, n in enumerate(numbers)]
        totals = list(accumulate(slipped))[1:]
        return ",".join(map(str, totals)) + f"\n#### {totals[-1]}"

    def vocabulary(self) -> Iterable[str]:
        return ["#### ", *map(str, range(self.first_max + self.term_max * self.terms)), "+", "=", ",", "\n"]
