"""Grade-school word problems: procedural at the tiny tier, the real data set at the full tier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from tasks import answers
from tasks.base import Problem, Score, Split, TextTask, Tier, binary, generator, split_of
from tasks.protocol import PLACE, Protocol
from tasks.word_problems import LARGEST, WORDS, compose, operands, work

# Of the full tier; the tiny model is made for bare stories.
PROTOCOL = Protocol(
    name="gsm8k/1",
    prompt=PLACE + "\nThink step by step, then write #### and the answer as a number.\n",
    strict="the number after the only ####, equal to the data set's (tasks/answers.py, strict)",
    lenient="the last number of the text, equal to the data set's (tasks/answers.py, lenient)",
    limit=512,
    completions=4,
)


@dataclass(frozen=True, kw_only=True)
class GSM8K(TextTask):
    """Word problems in two or three steps, answer after `####` (GSM8K, arXiv 2110.14168); the real data at the full tier."""

    tier: Tier = "tiny"
    data: str = ""  # full tier: a folder with train.jsonl and test.jsonl; empty: openai/gsm8k from the hub or its cache

    tiers: ClassVar[tuple[Tier, ...]] = ("tiny", "full")
    limit: ClassVar[int] = 32

    def problems(self, split: Split, seed: int) -> Iterator[Problem]:
        if self.tier == "full":
            from tasks import gsm8k_data

            for problem in gsm8k_data.problems(split, seed, self.data):
                yield replace(problem, prompt=PROTOCOL.asked(problem.prompt), facts={**problem.facts, "question": problem.prompt})
            return
        random, count = generator("gsm8k", split, seed), 0
        while True:
            story = compose(random)
            if split_of("gsm8k", story.numbers) == split:
                facts = {"numbers": story.numbers, "steps": story.steps, "gold": str(story.value)}
                yield Problem(f"gsm8k/{split}/{seed}/{count}", story.text + "\n", f"#### {story.value}", facts)
                count += 1

    def score(self, problem: Problem, text: str) -> Score:
        gold = problem.facts["gold"]
        strict, lenient = answers.strict(text), answers.lenient(text)
        right = strict is not None and answers.same(gold, strict)
        return binary(right, lenient is not None and answers.same(gold, lenient), strict is not None)

    def protocol(self) -> Protocol | None:
        return PROTOCOL if self.tier == "full" else None

    def key(self, problem: Problem) -> tuple[int, ...] | str:
        if self.tier == "tiny":
            return super().key(problem)
        from tasks.data import normal

        return normal(problem.facts["question"])

    def demonstration(self, problem: Problem, random: Random) -> str:
        """Half blurt a number off by up to 3; the others work step by step and slip by 1 at one step in twelve."""
        if self.tier == "full":
            return super().demonstration(problem, random)
        value = int(problem.facts["gold"])
        if random.random() < 0.5:
            return f"#### {max(0, value + random.randint(-3, 3))}"
        steps = problem.facts["steps"]
        results = work(steps, [random.choice((-1, 1)) if random.random() < 1 / 12 else 0 for _ in steps])
        lines = []
        for step, result in zip(steps, results, strict=True):
            left, right = operands(step, results)
            lines.append(f"{left}{step[1]}{right}={result}")
        return "\n".join([*lines, f"#### {results[-1]}"])

    def vocabulary(self) -> Iterable[str]:
        if self.tier == "full":
            return super().vocabulary()
        return ["#### ", *WORDS, *map(str, range(LARGEST + 4)), *"+-*=.?", " ", "\n"]
