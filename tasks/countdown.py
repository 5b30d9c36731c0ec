"""Countdown: reach a target with the given numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import ClassVar

from tasks.base import Problem, Score, Split, TextTask, binary, generator, split_of
from tasks.expressions import evaluate

Worked = tuple[int, str, str]  # value, expression, steps so far


@dataclass(frozen=True, kw_only=True)
class Countdown(TextTask):
    """Reach the target with every number once: `3 5 2 = 21` -> `5+2=7,7*3=21` and `#### (5+2)*3`."""

    numbers: int = 3
    number_max: int = 20
    target_max: int = 60

    limit: ClassVar[int] = 28
    ranges: ClassVar[dict[str, tuple[int, int]]] = {"numbers": (2, 6), "number_max": (2, 100), "target_max": (10, 10_000)}

    def problems(self, split: Split, seed: int) -> Iterator[Problem]:
        random, count = generator("countdown", split, seed), 0
        while True:
            numbers = [random.randint(1, self.number_max) for _ in range(self.numbers)]
            if split_of("countdown", numbers) != split:
                continue
            target, expression, _ = self._attempt(numbers, random)
            prompt = f"{' '.join(map(str, numbers))} = {target}\n"
            yield Problem(f"countdown/{split}/{seed}/{count}", prompt, f"#### {expression}", {"numbers": numbers, "target": target})
            count += 1

    def score(self, problem: Problem, text: str) -> Score:
        answer = text.partition("####")[2]
        formatted = text.count("####") == 1 and _worth(answer) is not None
        strict = formatted and self._right(problem, answer)
        last = text.strip().rpartition("\n")[2].rpartition("####")[2].partition("=")[0]
        return binary(strict, strict or self._right(problem, last), formatted)

    def demonstration(self, problem: Problem, random: Random) -> str:
        """Half blurt an expression of the given numbers that may miss; the others work one out that hits."""
        numbers, target = problem.facts["numbers"], problem.facts["target"]
        if random.random() < 0.5:
            return f"#### {self._attempt(numbers, random)[1]}"
        while True:
            value, expression, steps = self._attempt(numbers, random)
            if value == target:
                return f"{steps}\n#### {expression}"

    def vocabulary(self) -> Iterable[str]:
        return ["#### ", *map(str, range(self.target_max + 1)), *"+-*()=,", " ", "\n"]

    def _attempt(self, numbers: list[int], random: Random) -> Worked:
        """Combine the numbers two at a time, at random, never leaving the range 1 to target_max.

        Raises ValueError where numbers so large and a target so small leave next to no way.
        """
        for _ in range(100_000):
            pool: list[tuple[int, str]] = [(n, str(n)) for n in random.sample(numbers, len(numbers))]
            steps = []
            while len(pool) > 1:
                (a, left), (b, right) = pool.pop(), pool.pop()
                operation = random.choice("+-*")
                value = a + b if operation == "+" else a - b if operation == "-" else a * b
                steps.append(f"{a}{operation}{b}={value}")
                pool.append((value, _join(left, operation, right)))
            if all(0 < int(step.rpartition("=")[2]) <= self.target_max for step in steps):
                return pool[0][0], pool[0][1], ",".join(steps)
        raise ValueError(f"no way from {numbers} to a target of at most {self.target_max} was found; raise target_max or lower number_max")

    def _right(self, problem: Problem, expression: str) -> bool:
        found = _worth(expression)
        return found is not None and found[0] == problem.facts["target"] and sorted(found[1]) == sorted(problem.facts["numbers"])


def _worth(expression: str) -> tuple[Fraction, list[int]] | None:
    """The value of an expression and the numbers it uses; None where it is no expression."""
    try:
        return evaluate(expression.strip())
    except ValueError:
        return None


def _join(left: str, operation: str, right: str) -> str:
    """The expression with the brackets it needs and no others."""
    low = set("+-")
    if operation == "*" and low & set(_open(left)):
        left = f"({left})"
    if (operation == "*" and low & set(_open(right))) or (operation == "-" and low & set(_open(right))):
        right = f"({right})"
    return f"{left}{operation}{right}"


def _open(expression: str) -> str:
    """The part of an expression outside brackets."""
    depth, kept = 0, []
    for c in expression:
        depth += (c == "(") - (c == ")")
        if depth == 0:
            kept.append(c)
    return "".join(kept)
