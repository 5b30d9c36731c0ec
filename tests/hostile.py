"""Answers that try to be scored by accident, to crash the verifier or to keep it busy. None is a right answer to anything."""

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
