"""Stories in two or three steps for a model that knows some seventy words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

Operand = int | str  # a number of the story, or "#i": the result of step i
Step = list[Operand]  # left, operation, right

NAMES = ("Ada", "Ben", "Eva", "Leo", "Mia", "Sam", "Tom", "Zoe")
ITEMS = ("apples", "books", "cards", "coins", "eggs", "pens", "shells", "stamps")
GAINS = ("{name} buys {n} more.", "{name} finds {n} more.", "{other} gives {name} {n}.")
LOSSES = ("{name} loses {n}.", "{name} sells {n}.", "{name} gives {n} to {other}.")
LARGEST = 99


@dataclass(frozen=True)
class Story:
    """A word problem: the sum it asks for is the result of its last step."""

    text: str
    numbers: list[int]  # in the order of the text
    steps: list[Step]
    value: int


def compose(random: Random) -> Story:
    """One story of two or three steps whose results all lie between 1 and 99."""
    while True:
        story = _draft(random)
        results = work(story.steps)
        if all(0 < result <= LARGEST for result in results):
            return Story(story.text, story.numbers, story.steps, results[-1])


def work(steps: list[Step], slips: list[int] | None = None) -> list[int]:
    """The result of each step; a slip is added to its step's result and carried on."""
    results: list[int] = []
    for i, step in enumerate(steps):
        left, right = operands(step, results)
        result = left + right if step[1] == "+" else left - right if step[1] == "-" else left * right
        results.append(result + (slips[i] if slips else 0))
    return results


def operands(step: Step, results: list[int]) -> tuple[int, int]:
    """The two numbers a step combines, given the results so far."""
    left, right = (results[int(x[1:])] if isinstance(x, str) else x for x in (step[0], step[2]))
    return left, right


def _draft(random: Random) -> Story:
    name, other = random.sample(NAMES, 2)
    item, count = random.choice(ITEMS), random.choice((2, 2, 3))
    numbers: list[int] = []
    steps: list[Step] = []
    if random.random() < 0.4:
        numbers += [random.randint(2, 6), random.randint(2, 9)]
        steps.append([numbers[0], "*", numbers[1]])
        sentences = [f"{name} has {numbers[0]} boxes with {numbers[1]} {item} each."]
    else:
        numbers.append(random.randint(3, 30))
        sentences = [f"{name} has {numbers[0]} {item}."]
    together = random.random() < 0.3
    while len(steps) < count - 2 * together:
        held: Operand = f"#{len(steps) - 1}" if steps else numbers[0]
        if random.random() < 0.15:
            sentences.append(f"Then the number of {item} doubles.")
            steps.append([held, "*", 2])
            continue
        n = random.randint(2, 9)
        gains = random.random() < 0.5
        sentences.append(random.choice(GAINS if gains else LOSSES).format(name=name, other=other, n=n))
        numbers.append(n)
        steps.append([held, "+" if gains else "-", n])
    if not together:
        return Story(" ".join([*sentences, f"How many {item} does {name} have now?"]), numbers, steps, 0)
    held, n = f"#{len(steps) - 1}" if steps else numbers[0], random.randint(2, 9)
    more = random.random() < 0.5
    sentences.append(f"{other} has {n} {'more' if more else 'fewer'} than {name}. How many {item} do they have together?")
    numbers.append(n)
    steps += [[held, "+" if more else "-", n], [held, "+", f"#{len(steps)}"]]
    return Story(" ".join(sentences), numbers, steps, 0)


def _words() -> tuple[str, ...]:
    texts = [*NAMES, *ITEMS, *GAINS, *LOSSES]
    texts += ["has boxes with each", "Then the number of doubles", "How many does have now", "more fewer than", "do they have together"]
    found = {word for text in texts for word in re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", "", text))}
    return tuple(sorted({f" {word}" for word in found} | set(NAMES)))


WORDS = _words()
