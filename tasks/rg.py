"""Any data set of reasoning-gym (arXiv 2505.24760).

Problems are made on demand from seeds of our own. A problem belongs to the split that the hash of its question names, whatever the seed:
half train, a quarter tune, a quarter held out (of some sets a problem takes a second to make, and one in ten would take ten). Where a set
asks the same in several wordings, each wording is a question of its own.

A set's own program judges the answers, and some read them as Python. The verifier's worker bounds time and memory, and what looks like a
call to the interpreter is wrong unread, but that is no sandbox: train nothing that may mean harm.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from tasks.base import Problem, Score, Split, TextTask, Tier, generator
from tasks.data import normal
from tasks.protocol import PLACE, Protocol

BLOCK = 32  # problems that one seed of a data set gives; some sets make all of them at once
HOPELESS = 5000  # questions in a row that are all of other splits
# Their questions depend on the order of Python's sets, which is another in each process (reasoning-gym 0.1.25).
UNSTABLE = ("isomorphic_strings", "knight_swap", "list_functions", "polynomial_multiplication", "ransom_note", "word_ladder")
ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
CALLS = re.compile(r"__|\b(?:open|exec|eval|compile|getattr|setattr|delattr|globals|locals|vars|input|breakpoint|exit|quit|help)\s*\(")

PROTOCOL = Protocol(
    name="rg/1",
    prompt=PLACE + "\n\nThink step by step, then give the final answer alone between <answer> and </answer>.\n",
    strict="the text of the only <answer>...</answer> has the score 1 by the data set's own score_answer",
    lenient="the text of the last <answer>...</answer>, else the last line, has that score",
    limit=1024,
    completions=4,
    problems=250,
)


@dataclass(frozen=True, kw_only=True)
class RG(TextTask):
    """Any data set of reasoning-gym by name, `--task rg:NAME`; its own program scores the answers."""

    id: str = "chain_sum"
    config: str = ""  # a JSON object of the data set's settings, such as {"min_terms": 3}; empty: its own defaults
    partial: bool = False  # pay the score of an answer that is partly right; what counts as correct stays the same

    tiers: ClassVar[tuple[Tier, ...]] = ("full",)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "config", _canonical(self.config))

    def protocol(self) -> Protocol | None:
        return PROTOCOL

    def ready(self) -> None:
        known = _library().factory.DATASETS
        if self.id not in known:
            close = difflib.get_close_matches(self.id, known, n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"reasoning-gym has no data set called {self.id!r}.{hint} Known: {', '.join(sorted(known))}")
        if self.id in UNSTABLE and os.environ.get("PYTHONHASHSEED", "random") == "random":
            raise ValueError(f"the questions of {self.id} change with the order of Python's sets; give PYTHONHASHSEED=0 in the environment")
        _block(self.id, self.config, 0)

    def problems(self, split: Split, seed: int) -> Iterator[Problem]:
        """Raises what `ready` raises, and ValueError where next to none of a set's questions are of a split."""
        self.ready()
        random, count, missed = generator("rg", self.id, split, seed), 0, 0
        while missed < HOPELESS:
            block = random.randrange(2**31)
            for place in range(BLOCK):
                entry = _block(self.id, self.config, block)[place]
                question = str(entry["question"])
                missed += 1
                if _split(self.id, question) == split:
                    answer = "" if entry["answer"] is None else f"<answer>{entry['answer']}</answer>"
                    facts = {"question": question, "block": block, "place": place}
                    yield Problem(f"rg/{self.id}/{split}/{seed}/{count}", PROTOCOL.asked(question), answer, facts)
                    count, missed = count + 1, 0
        raise ValueError(f"{HOPELESS} questions of {self.id} in a row are of other splits than {split}: it has too few that differ")

    def score(self, problem: Problem, text: str) -> Score:
        """Raises ValueError where the data set made another question in this process than in the one that asked."""
        block = problem.facts["block"]
        entry = _entry(self.id, self.config, block, problem.facts["place"])
        if entry["question"] != problem.facts["question"]:
            raise ValueError(f"{self.id} makes another question out of the same seed here")
        found = ANSWER.findall(text)
        only = self._worth(block, entry, found[0]) if len(found) == 1 and text.count("<answer>") == 1 else None
        last = self._worth(block, entry, found[-1] if found else text.strip().rpartition("\n")[2]) if only is None else only
        right = float(only is not None and only >= 1)
        reward = max(0.0, min(only or 0.0, 1.0)) if self.partial else right
        parts = {"strict": right, "lenient": float(last >= 1), "format": float(only is not None), "partial": max(0.0, min(last, 1.0))}
        return Score(reward, right, parts)

    def key(self, problem: Problem) -> tuple[int, ...] | str:
        return normal(problem.facts["question"])

    def _worth(self, block: int, entry: dict[str, Any], answer: str) -> float:
        """What the data set's program gives for an answer; 0 where it fails on it."""
        answer = answer.strip()
        if not answer or CALLS.search(answer):
            return 0.0
        try:
            return float(_block(self.id, self.config, block).score_answer(answer, entry))
        except Exception:  # a program of someone else's, on text of nobody's
            return 0.0


def _library() -> Any:
    try:
        import reasoning_gym
    except ImportError as error:
        raise ImportError('rg:NAME needs reasoning-gym (pip install "rl-bench-suite[rg]")') from error
    return reasoning_gym


@lru_cache(maxsize=8)
def _block(name: str, config: str, seed: int) -> Any:
    """The data set that one seed gives. Raises ValueError for settings that it does not have or refuses."""
    kind = _library().factory.DATASETS[name][1]
    given = json.loads(config or "{}")
    known = sorted(set(kind.__dataclass_fields__) - {"seed", "size"})
    for key in given:
        if key not in known:
            raise ValueError(f"config holds {key!r}, which {name} does not have; it has {', '.join(known)}")
    try:
        return _library().create_dataset(name, seed=seed, size=BLOCK, **given)
    except Exception as error:  # each set has checks of its own, most of them assertions
        raise ValueError(f"{name} does not take the config {config or '{}'} ({error or type(error).__name__})") from error


@lru_cache(maxsize=512)
def _entry(name: str, config: str, seed: int, place: int) -> dict[str, Any]:
    entry: dict[str, Any] = _block(name, config, seed)[place]
    return entry


def _split(name: str, question: str) -> Split:
    bucket = hashlib.sha256(f"rg:{name}:{normal(question)}".encode(errors="surrogatepass")).digest()[0]
    return "heldout" if bucket < 64 else "tune" if bucket < 128 else "train"


def _canonical(config: str) -> str:
    """The JSON object in one spelling; empty for an empty one. Raises ValueError for anything else."""
    try:
        held = json.loads(config) if config else {}
    except (json.JSONDecodeError, RecursionError):
        held = None
    if not isinstance(held, dict):
        raise ValueError(f'config is {config!r}; it takes a JSON object, such as {{"min_terms": 3}}')
    return json.dumps(held, sort_keys=True) if held else ""
