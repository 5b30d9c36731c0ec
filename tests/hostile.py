"""Answers that try to be scored by accident, to crash the verifier or to keep it busy. None is a right answer to anything.

And a task whose scorer is hostile itself."""

from __future__ import annotations

MEGABYTE = 1_000_000

# No verifier may read a number in these, whatever the task; kept short enough for the verifier to look at them.
UNREADABLE: dict[str, str] = {
    "power tower": "#### 9**9**9**9",
    "call": "#### __import__('os').system('true')",
    "scientific": "#### 1e999",
    "nan": "#### NaN",
    "infinity": "#### -inf",
    "arabic-indic digits": "#### \u0661\u0668",
    "fullwidth digits": "#### \uff11\uff18",
    "superscript digit": "#### \u00b2",
    "fraction sign": "#### \u00bd",
    "null bytes": "#### \0\0\0",
    "null after a digit": "#### 7\0",
    "lone surrogate": "#### \udc80",
    "surrogate after a digit": "#### 7\udc80",
    "marker alone": "####",
    "empty": "",
    "blanks": " \t\n\r\u2028\u00a0",
    "deep brackets": "#### " + "(" * 40_000 + ")" * 40_000,
    "digits without end": "#### " + "7" * 90_000,
    "signs without end": "#### " + "-" * 90_000,
    "points and commas": "#### " + ".," * 45_000,
    "right to left": "#### \u202e81",
    "hexadecimal": "#### 0x12",
    "ratio": "#### 36/2",
}

# A strict reader must refuse these; a lenient one may read their last number.
HEDGES: dict[str, str] = {
    "two markers": "#### 7\n#### 8",
    "a hundred markers": "".join(f"#### {i}\n" for i in range(100)),
    "joined markers": "#### 7########",
    "or": "#### 7 or 8",
    "list": "#### 7, 8, 9",
    "equation": "#### 7 = 8 - 1",
    "range": "#### 7 - 8",
    "scaled": "#### 7 million",
    "five hashes": "##### 7",
}

# For the readers themselves: the verifier refuses these by their length.
HUGE: dict[str, str] = {
    "brackets": "#### " + "(" * MEGABYTE,
    "digits": "#### 1" + "0" * MEGABYTE,
    "numbers": "1 " * (MEGABYTE // 2),
    "sums": "1 + " * (MEGABYTE // 4),
    "equals": "#### " + "=1" * (MEGABYTE // 2),
    "groups": "#### 1" + ",111" * (MEGABYTE // 4),
    "blanks": "#### 7" + " " * MEGABYTE + "+",
    "leading blanks": "####" + " " * MEGABYTE + "7x",
    "punctuation": "#### 7" + "!" * MEGABYTE + "x",
    "hashes": "#" * MEGABYTE,
    "stars": "**7" * (MEGABYTE // 3),
    "money": "$ " * (MEGABYTE // 2),
    "lines": "\n" * MEGABYTE,
    "surrogates": "\udc80" * MEGABYTE,
}

# A third party's task whose scorer does what the completion says.
HOSTILE_TASK = """
import ctypes, os, sys, threading, time
from dataclasses import dataclass
from tasks.base import Score, TextTask, binary

def deepen(n):
    return deepen(n + 1) + 1

def spin():
    while True:
        pass

def starve():
    hoard = []
    while True:
        hoard.append(bytearray(1 << 24))

class Odd:
    def __reduce__(self):
        return os._exit, (1,)

@dataclass(frozen=True, kw_only=True)
class Hostile(TextTask):
    broken: bool = False

    def problems(self, split, seed):
        yield from ()

    def __setstate__(self, state):
        if state["broken"]:
            raise RuntimeError("cannot be set up")
        self.__dict__.update(state)

    def score(self, problem, text):
        acts = {
            "hang": lambda: time.sleep(3600),
            "spin": spin,
            "backtrack": lambda: __import__("re").match("(a+)+$", "a" * 60 + "b"),
            "bomb": lambda: bytearray(1 << 29),
            "hoard": starve,
            "tower": lambda: 9**9**9**9,
            "exit": lambda: os._exit(3),
            "leave": lambda: sys.exit(3),
            "interrupt": lambda: os.kill(os.getpid(), 2),
            "kill": lambda: os.kill(os.getpid(), 9),
            "segfault": lambda: ctypes.string_at(0),
            "abort": os.abort,
            "recursion": lambda: deepen(0),
            "raise": lambda: 1 / 0,
            "print": lambda: print("noise" * 100_000),
            "read": lambda: input(),
            "nan": lambda: Score(float("nan"), 0.0),
            "infinity": lambda: Score(float("inf"), 0.0),
            "text": lambda: Score("1", 1.0),
            "none": lambda: None,
            "nan part": lambda: Score(1.0, 1.0, {"strict": float("nan")}),
            "too large": lambda: Score(10**400, 1.0),
            "odd part": lambda: Score(1.0, 1.0, {"strict": Odd()}),
            "die later": lambda: threading.Timer(0.2, os._exit, [1]).start(),
            "pid": lambda: Score(float(os.getpid()), 0.0),
        }
        act = acts.get(text)
        made = act() if act else None
        return made if isinstance(made, Score) or text == "none" else binary(True, True, True)
"""
