"""Countdown: reach a target with the given numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random
from typing import Any, ClassVar

from tasks.base import Problem, Score, Split, TextTask, Tier, binary, generator, split_of
from tasks.expressions import evaluate
from tasks.protocol import PLACE, Protocol

Worked = tuple[int, str, str]  # value, expression, steps so far
LEAST = 10  # smallest target of the full tier
HOPELESS = 1000  # draws of numbers without a target, after which there is none

PROTOCOL = Protocol(
    name="countdown/1",
    prompt=PLACE
    + " You may add, subtract, multiply and divide (+ - * /), use brackets, and must use each number exactly once.\n"
    + "Think step by step, then write #### and the expression alone, such as #### (1 + 2) / 3\n",
    strict="the expression after the only #### is worth the target in exact fractions and uses each number once (tasks/expressions.py)",
    lenient="what follows the last ####, else the last line, up to an equals sign and without . $ ` * around it, read the same way",
    limit=1024,
    completions=4,
    problems=500,
)


@dataclass(frozen=True, kw_only=True)
class Countdown(TextTask):
    """Reach the target with every number once: `3 5 2 = 21` -> `5+2=7,7*3=21` and `#### (5+2)*3`; at the full tier, divisions too."""

    numbers: int = 3
    number_max: int = 20
    target_max: int = 60
    tier: Tier = field(default="tiny", metadata={"later": True})
    fewest: int = field(default=0, metadata={"later": True})  # numbers of the full tier's easiest problems; 0: as many as of the others

    tiers: ClassVar[tuple[Tier, ...]] = ("tiny", "full")
    presets: ClassVar[dict[Tier, dict[str, Any]]] = {"full": {"fewest": 3, "numbers": 4, "number_max": 99, "target_max": 99}}
    limit: ClassVar[int] = 28
    ranges: ClassVar[dict[str, tuple[int, int]]] = {
        "numbers": (2, 6),
        "number_max": (2, 100),
        "target_max": (LEAST, 10_000),
        "fewest": (0, 6),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fewest and not 2 <= self.fewest <= self.numbers:
            raise ValueError(f"fewest is {self.fewest}; it must be between 2 and numbers, {self.numbers}, or 0")
        if self.fewest and self.tier == "tiny":
            raise ValueError(f"fewest is {self.fewest}, but every problem of the tiny tier has {self.numbers} numbers; leave it out")

    def protocol(self) -> Protocol | None:
        return PROTOCOL if self.tier == "full" else None

    def problems(self, split: Split, seed: int) -> Iterator[Problem]:
        if self.tier == "full":
            yield from self._asked(split, seed)
            return
        random, count = generator("countdown", split, seed), 0
        while True:
            numbers = [random.randint(1, self.number_max) for _ in range(self.numbers)]
            if split_of("countdown", numbers) != split:
                continue
            target, expression, _ = self._attempt(numbers, random)
            prompt = f"{' '.join(map(str, numbers))} = {target}\n"
            yield Problem(f"countdown/{split}/{seed}/{count}", prompt, f"#### {expression}", {"numbers": numbers, "target": target})
            count += 1

    def _asked(self, split: Split, seed: int) -> Iterator[Problem]:
        """The full tier's, in words. Raises ValueError where next to no numbers lead to a target."""
        random, count, failed = generator("countdown", "full", split, seed), 0, 0
        while failed < HOPELESS:
            numbers = [random.randint(1, self.number_max) for _ in range(random.randint(self.fewest or self.numbers, self.numbers))]
            found = self._reached(numbers, random) if split_of("countdown", numbers) == split else None
            failed = failed + 1 if found is None else 0
            if found is not None:
                target, expression = found
                prompt = PROTOCOL.asked(f"Make {target} out of the numbers {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}.")
                facts = {"numbers": numbers, "target": target}
                yield Problem(f"countdown/{split}/{seed}/{count}", prompt, f"#### {expression}", facts)
                count += 1
        short = f"{HOPELESS} draws of numbers up to {self.number_max} gave no {split} problem with a target up to {self.target_max}"
        raise ValueError(f"{short}; raise number_max or target_max")

    def _reached(self, numbers: list[int], random: Random) -> tuple[int, str] | None:
        """A whole number from LEAST to target_max that all of these come to, two at a time, at random, and the way there, on which stand
        positive whole numbers; other ways may lead through fractions. None where a thousand ways lead elsewhere."""
        for _ in range(1000):
            pool: list[tuple[int, str]] = [(n, str(n)) for n in numbers]
            while len(pool) > 1:
                (a, left), (b, right) = (pool.pop(random.randrange(len(pool))) for _ in range(2))
                operation = random.choice("+-*/")
                if (operation == "-" and a <= b) or (operation == "/" and a % b):
                    break
                value = a + b if operation == "+" else a - b if operation == "-" else a * b if operation == "*" else a // b
                pool.append((value, _join(left, operation, right)))
            else:
                if LEAST <= pool[0][0] <= self.target_max:
                    return pool[0]
        return None

    def score(self, problem: Problem, text: str) -> Score:
        answer = text.partition("####")[2]
        formatted = text.count("####") == 1 and _worth(answer) is not None
        strict = formatted and self._right(problem, answer)
        last = _last(text) if self.tier == "full" else text.strip().rpartition("\n")[2].rpartition("####")[2].partition("=")[0]
        return binary(strict, strict or self._right(problem, last), formatted)

    def demonstration(self, problem: Problem, random: Random) -> str:
        """Half blurt an expression of the given numbers that may miss; the others work one out that hits."""
        if self.tier == "full":
            return super().demonstration(problem, random)
        numbers, target = problem.facts["numbers"], problem.facts["target"]
        if random.random() < 0.5:
            return f"#### {self._attempt(numbers, random)[1]}"
        while True:
            value, expression, steps = self._attempt(numbers, random)
            if value == target:
                return f"{steps}\n#### {expression}"

    def vocabulary(self) -> Iterable[str]:
        if self.tier == "full":
            return super().vocabulary()
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


def _last(text: str) -> str:
    """Where an answer of a large model stands that does not keep to the form, without Markdown and LaTeX around it."""
    _, marked, after = text.rpartition("####")
    line = after.strip().partition("\n")[0] if marked else text.strip().rpartition("\n")[2]
    return line.partition("=")[0].strip(" \t.$`*")


def _worth(expression: str) -> tuple[Fraction, list[int]] | None:
    """The value of an expression and the numbers it uses; None where it is no expression."""
    try:
        return evaluate(expression.strip())
    except ValueError:
        return None


def _join(left: str, operation: str, right: str) -> str:
    """The expression with the brackets it needs and no others."""
    low = set("+-")
    if operation in "*/" and low & set(_open(left)):
        left = f"({left})"
    if (operation in "*-" and low & set(_open(right))) or (operation == "/" and set("+-*/") & set(_open(right))):
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
