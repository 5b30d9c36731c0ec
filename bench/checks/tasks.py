"""What a text task promises. Instances are checked with their own settings, at the tier these choose."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from itertools import combinations, islice, pairwise, product
from random import Random

from bench.checks.expect import DoesNotApply, expect
from tasks.base import SPLITS, Problem, Split, TextTask, generator

ASKS = TextTask
SEEDS = (0, 1, 2)
MANY = 500
FEW = 40
GARBAGE = (
    "",
    " \n\t",
    "####",
    "#### ",
    "#### #### ####",
    "#" * 5000,
    "#### " + "9" * 5000,
    "#### nan",
    "#### -1e999",
    "#### ((((((",
    "#### 9**9**9**9",
    "#### __import__('os')",
    "\x00\ufffd\u202e\U0001f9ee",
    "I do not know.",
)


def first(task: TextTask, split: Split, seed: int, count: int) -> list[Problem]:
    """Raises DoesNotApply where the task's data or library is not on this machine."""
    try:
        return list(islice(task.problems(split, seed), count))
    except (OSError, ImportError) as error:
        raise DoesNotApply(str(error)) from error


def are_reproducible(task: TextTask) -> None:
    """The same split and seed give the same problems, ids are unique, and every split has problems."""
    for split in SPLITS:
        problems = first(task, split, 1, MANY)
        expect(problems, f"the {split} split is empty")
        expect(problems == first(task, split, 1, MANY), f"the {split} split with seed 1 gives other problems when asked again")
        expect(len({p.id for p in problems}) == len(problems), f"two problems of the {split} split share an id")


def seeds_share_little(task: TextTask) -> None:
    """Of 500 training problems, neighbouring seeds share less than a tenth, or no more than chance does in so small a space."""
    prompts = {seed: [p.prompt for p in first(task, "train", seed, MANY)] for seed in SEEDS}
    for a, b in ((0, 1), (1, 2), (0, 2)):
        repeats = 1 - len(set(prompts[a])) / len(prompts[a])  # n / 2N in a space of N, where the share with another seed is n / N
        shared = sum(p in set(prompts[b]) for p in prompts[a]) / len(prompts[a])
        expect(shared < max(0.1, 4 * repeats), f"seeds {a} and {b} share {shared:.0%} of their first {len(prompts[a])} training problems")


def splits_share_nothing(task: TextTask) -> None:
    """No canonical problem is in two splits, whatever the seeds."""
    keys = {split: {task.key(p) for seed in SEEDS for p in first(task, split, seed, MANY)} for split in SPLITS}
    for a, b in combinations(SPLITS, 2):
        common = keys[a] & keys[b]
        expect(not common, f"{a} and {b} share {len(common)} problems, such as {next(iter(common), None)!r}")


def right_answers_count(task: TextTask) -> None:
    """A problem's own answer is correct, strictly and leniently, and has the reward 1."""
    for problem in _sample(task):
        score = task.score(problem, problem.answer)
        found = (score.reward, score.correct, score.parts.get("strict"), score.parts.get("lenient"))
        expect(found == (1, 1, 1, 1), f"{problem.id}: its answer {problem.answer!r} has reward, correct, strict, lenient {found}")


def garbage_counts_nothing(task: TextTask) -> None:
    """Empty and senseless completions have reward 0 and are not correct; a verifier that raises says the same."""
    for problem, text in product(_sample(task, 5), GARBAGE):
        try:
            score = task.score(problem, text)
        except Exception:  # the worker that calls `score` counts whatever it raises as a wrong answer
            continue
        found = (score.reward, score.correct, score.parts.get("strict"))
        expect(found == (0, 0, 0), f"{problem.id}: {text[:40]!r} has reward, correct, strict {found}")


def scores_are_shares(task: TextTask) -> None:
    """Rewards and parts lie in [0, 1], verdicts are 0 or 1, strictly right is leniently right, and scoring twice agrees."""
    for problem, text in _attempts(task):
        score = task.score(problem, text)
        where = f"{problem.id} with {text!r}"
        expect(0 <= score.reward <= 1, f"{where}: reward {score.reward}")
        expect(score.correct in (0, 1), f"{where}: correct is {score.correct}")
        lacking = {"strict", "lenient", "format"} - set(score.parts)
        expect(not lacking, f"{where}: parts are {sorted(score.parts)}; {' and '.join(sorted(lacking))} must be there, too")
        expect(all(0 <= v <= 1 for v in score.parts.values()), f"{where}: parts {score.parts}")
        expect(score.parts["strict"] <= score.parts["lenient"], f"{where}: strictly right and leniently wrong")
        expect(score == task.score(problem, text), f"{where}: scored differently the second time")


def travels_to_workers(task: TextTask) -> None:
    """Tasks and problems survive pickling, and a problem's facts are JSON values."""
    expect(pickle.loads(pickle.dumps(task)) == task, "a pickled task is another task")
    for problem in _sample(task, 5):
        expect(pickle.loads(pickle.dumps(problem)) == problem, f"{problem.id} changes by pickling")
        expect(json.loads(json.dumps(problem.facts)) == problem.facts, f"{problem.id}: facts {problem.facts} are no JSON values")


def demonstrations_fit(task: TextTask) -> None:
    """Prompts, answers and demonstrations consist of the vocabulary's tokens, and an answer fits the length limit with its end token."""
    words = _words(task)
    if not words:
        return
    token = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))))
    for problem in _sample(task):
        shown = [d for n in range(5) if (d := _shown(task, problem, n)) is not None]
        for text in (problem.prompt, problem.answer, *shown):
            pieces, rest = len(token.findall(text)), token.sub("", text)
            expect(not rest, f"{problem.id}: {rest!r} of {text!r} is not in the vocabulary")
            expect(text == problem.prompt or pieces < task.limit, f"{problem.id}: {text!r} needs {pieces + 1} tokens of {task.limit}")


def demonstrations_err(task: TextTask) -> None:
    """Demonstrators are right sometimes and wrong sometimes, so that the base model leaves something to learn."""
    problems = [p for p in _sample(task) for _ in range(5)]
    shown = [_shown(task, p, n) for n, p in enumerate(problems)]
    if None in shown:
        return
    right = sum(task.score(p, d or "").correct for p, d in zip(problems, shown, strict=True))
    expect(0 < right < len(problems), f"{right:.0f} of {len(problems)} demonstrations are right")


def _sample(task: TextTask, count: int = FEW) -> list[Problem]:
    return [p for split in SPLITS for p in first(task, split, 0, count)]


def _attempts(task: TextTask) -> Iterator[tuple[Problem, str]]:
    """Problems with completions of many kinds: right, of another problem, altered, spelt at random."""
    words = _words(task) or list("0123456789 .#-\n")
    random: Random = generator("attempts")
    problems = _sample(task)
    for problem, other in pairwise(problems):
        spelt = "".join(random.choices(words, k=random.randint(1, 12)))
        for text in (
            problem.answer,
            other.answer,
            problem.answer + " ",
            "So it is " + problem.answer.removeprefix("#### "),
            spelt,
            "#### " + spelt,
        ):
            yield problem, text


def _words(task: TextTask) -> list[str]:
    """The vocabulary; empty where the task says by ValueError that it has none."""
    try:
        return list(task.vocabulary())
    except ValueError:
        return []


def _shown(task: TextTask, problem: Problem, number: int) -> str | None:
    """One demonstration; None where the task says by ValueError that it has none."""
    try:
        return task.demonstration(problem, generator("check", problem.id, number))
    except ValueError:
        return None


CONTRACTS = [
    ("the same seed gives the same problems", are_reproducible),
    ("neighbouring seeds share little", seeds_share_little),
    ("splits share no canonical problem", splits_share_nothing),
    ("a problem's own answer is right", right_answers_count),
    ("garbage is wrong", garbage_counts_nothing),
    ("scores lie in [0, 1] and name strict, lenient and format", scores_are_shares),
    ("tasks and problems travel to worker processes", travels_to_workers),
    ("texts consist of the vocabulary and fit the limit", demonstrations_fit),
    ("demonstrators are sometimes right and sometimes wrong", demonstrations_err),
]
