r"""Reading and comparing the answers of MATH (arXiv 2103.03874); math-verify knows when two formulas are one.

math-verify bounds its own work by an alarm signal, which fails in a thread and would end the alarm of the verifier's worker: it is
switched off here, and the worker's limits on time and memory hold instead.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

TAIL = 2000  # characters at the end of a text among which the last expression is looked for
LONGEST = 1000  # characters of an answer; a longer one is compared as text only
TOWER = re.compile(r"\d\s*(?:\^|\*\*)[\s({]*\d+\s*(?:\^|\*\*)")  # a number to the power of a power may fill any memory
BRACES = re.compile(r"\\.|[{}]", re.DOTALL)  # a backslash takes the next character with it
EQUATION = re.compile(r"[-+\d.,\s]+=")  # a number on the left: math-verify would read the right side alone, and 1 = 2 as 2
BASE = re.compile(r"[0-9A-Fa-f]+_\{?\d+\}?\Z")  # a number in a base, which math-verify leaves out
KINDS = (("(", "["), ("\\{",))  # how tuples and intervals begin, and sets
WARM = (
    ("1", "$\\frac{2}{2}$"),
    ("\\pi", "$3.14$"),
    ("(1,2]", "$(1,2)$"),
    ("\\sqrt{2}", "$1.41$"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "$(1,2)$"),
)
BOXES = (r"\boxed", r"\fbox")


def boxed(text: str) -> str | None:
    r"""What the last \boxed{...} or \fbox{...} of a text holds, or the character after a bare \boxed; None where there is none, or the last
    one is not closed. Takes time linear in the text."""
    start, mark = max((text.rfind(mark), mark) for mark in BOXES)
    if start < 0:
        return None
    rest = text[start + len(mark) :].lstrip()
    if not rest.startswith("{"):
        return rest[:1].strip("$") or None
    depth = 0
    for match in BRACES.finditer(rest):
        depth += (match[0] == "{") - (match[0] == "}")
        if depth == 0 and match[0] == "}":
            return rest[1 : match.start()].strip()
    return None


def same(gold: str, answer: str) -> bool:
    """Whether an answer is the gold one: as text, blanks apart, or as math-verify reads both."""
    if not answer:
        return False
    if "".join(answer.split()) == "".join(gold.split()):
        return True
    if BASE.match(gold):
        return re.sub(r"[\s{}]", "", answer) == re.sub(r"[\s{}]", "", gold)
    kinds = {_kind(gold), _kind(answer)} - {None}
    if (EQUATION.match(answer) and "=" not in gold) or len(kinds) > 1:
        return False
    return len(answer) <= LONGEST and not TOWER.search(answer) and _verified(gold, _latex(answer))


def _kind(answer: str) -> int | None:
    """0 for what begins as a tuple, 1 as a set; None for the rest."""
    plain = answer.strip().removeprefix("\\left")
    return next((i for i, marks in enumerate(KINDS) if plain.startswith(marks)), None)


def lenient(gold: str, text: str) -> bool:
    """Whether the last expression that math-verify finds at the end of a text is the gold one."""
    tail = text[-TAIL:]
    return not TOWER.search(tail) and _verified(gold, _parse()(tail, parsing_timeout=None))


def load() -> None:
    """Import math-verify and let it compare something, so that the first answer does not pay for it. Raises ImportError without it."""
    for gold, answer in WARM:
        lenient(gold, f"It is {answer}.")


def _verified(gold: str, found: list[Any]) -> bool:
    from math_verify import verify

    return bool(verify(_latex(gold), found, timeout_seconds=None))


@lru_cache(maxsize=256)
def _latex(answer: str) -> list[Any]:
    from math_verify import LatexExtractionConfig

    only = LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)
    found: list[Any] = _parse()(f"\\boxed{{{answer}}}", extraction_config=[only], parsing_timeout=None)
    return found


def _parse() -> Any:
    try:
        from math_verify import parse
    except ImportError as error:
        raise ImportError('the answers of MATH are compared by math-verify (pip install "rl-bench-suite[math]")') from error
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of the limits that are switched off
    return parse
