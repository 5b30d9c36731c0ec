"""Competition mathematics: the problems of MATH to train on, MATH-500 held out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from tasks import math_answers
from tasks.base import Problem, Score, Split, TextTask, Tier, binary
from tasks.data import normal
from tasks.protocol import PLACE, Protocol

PROTOCOL = Protocol(
    name="math/1",
    prompt=PLACE + "\nThink step by step, then put the final answer in \\boxed{}.\n",
    strict="what the last \\boxed holds is the data set's answer, as text or by math-verify"
    f" (not above {math_answers.LONGEST} characters, nor for a number to the power of a power)",
    lenient=f"the last expression that math-verify finds in the last {math_answers.TAIL} characters is the data set's answer",
    limit=2048,
    completions=4,
)


@dataclass(frozen=True, kw_only=True)
class Math(TextTask):
    r"""Competition problems with the answer in `\boxed{}`, compared by math-verify: MATH (arXiv 2103.03874), held out MATH-500."""

    data: str = ""  # a folder with train.jsonl and test.jsonl; empty: the hub or its cache

    tiers: ClassVar[tuple[Tier, ...]] = ("full",)

    def protocol(self) -> Protocol | None:
        return PROTOCOL

    def ready(self) -> None:
        math_answers.load()

    def problems(self, split: Split, seed: int) -> Iterator[Problem]:
        """Raises what `ready` and the data set's `load` raise."""
        from tasks.math_data import DATA

        self.ready()
        for problem in DATA.problems(split, seed, self.data):
            yield replace(problem, prompt=PROTOCOL.asked(problem.prompt), facts={**problem.facts, "question": problem.prompt})

    def score(self, problem: Problem, text: str) -> Score:
        gold, answer = problem.facts["gold"], math_answers.boxed(text)
        right = answer is not None and math_answers.same(gold, answer)
        return binary(right, right or math_answers.lenient(gold, text), bool(answer))

    def key(self, problem: Problem) -> tuple[int, ...] | str:
        return normal(problem.facts["question"])
