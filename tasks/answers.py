r"""Reading a number out of an answer in the manner of GSM8K (arXiv 2110.14168), shared by the verifiers.

The grammar of a number, in ASCII digits only:

    number   = sign? money? digits tail? | money sign digits tail?
    digits   = integer ("." decimals)? | "." decimals
    integer  = 1 to 40 digits | 1 to 3 digits and then groups of ",ddd"
    sign     = "-" | "+" | U+2212
    money    = a currency symbol, escaped or not, with at most one blank after it
    tail     = "%" (50% reads 50) | a currency symbol

A number is read whole or not at all. On its left stands the start of the text, a blank, a bracket, a quote or one of `= < > : # |`; on its
right the end, a blank, a closing bracket, a quote or one of `= < > # |`, after sentence punctuation if there is any. So `18.`, `(18)` and
`x=18` hold a number; `1e999`, `1/2`, `12abc`, `1.2.3`, `0x10`, `12:30`, `1,23` and `5-3` hold none. An operand is no number either: not in
`1 / 2`, `5 - 3` or `3 x 4`; nor is what a scale word follows (`18 million`).

`strict` wants exactly one `####` and a number straight after it, blanks apart; the rest of that line may hold words, but no second number
and none of `= < > ^`. `lenient` takes the last number of the text, looking through Markdown's `**` and LaTeX's `\( \)`. Both take time
linear in the text and never raise.
"""

from __future__ import annotations

import re
from fractions import Fraction

MARKER = "####"
MONEY = r"\\?[$€£¥₹₩₽₱₫₦₺₴₪฿¢]"
_NUMBER = rf"""
    (?<![^\s=<>(\[{{"'`:\#|]) (?<![0-9]:)
    (?: (?P<sign>[-+\u2212])? (?:{MONEY}[ ]?)? | {MONEY} [ ]? (?P<inner>[-+\u2212]) )
    (?P<digits> (?> [0-9]{{1,3}} (?:,[0-9]{{3}}){{1,12}}+ (?![0-9]) | [0-9]{{1,40}}+ )? (?:\.[0-9]{{1,40}}+)? ) (?<=[0-9])
    (?:\\?%|{MONEY})?
    (?! [ \t]*+ (?: [+/^\u00d7\u00f7\u00b7] | \*(?!\*) | (?:\*\*|[-\u2212\u2013xX]) [ \t]*+ [0-9(.$] ) )
    (?! [ \t]*+ (?i:hundred|thousand|million|billion|trillion) (?:th)?s?\b )
    [.,;:!?]*+ (?= [\s=<>)\]}}"'`\#|] | \Z )
"""
NUMBER = re.compile(_NUMBER, re.VERBOSE)
OPERATOR_BEFORE = re.compile(rf"[0-9)%][ \t]*(?:[-+/^\u00d7\u00f7\u00b7\u2212\u2013xX]|\*\*?)[ \t]*(?:{MONEY})?[ \t]*\Z")
EMPHASIS = re.compile(r"(?<![\w)*])\*\*(?=\S)|(?<=\S)\*\*(?![\w(*])|\\[()\[\]]")
WINDOW = 24  # characters looked back for an operator, so that a page of blanks costs nothing


def strict(text: str) -> Fraction | None:
    """The number after the one `####`; None where there is no marker, more than one, or anything but one number and words after it."""
    if text.count(MARKER) != 1:
        return None
    line = re.split(r"[\n\r]", text.partition(MARKER)[2], maxsplit=1)[0].strip(" \t")
    match = NUMBER.match(line)
    if match is None or any(c.isnumeric() or c in "=<>^" for c in line[match.end() :]):
        return None
    return _value(match)


def lenient(text: str) -> Fraction | None:
    """The last number of the text; None where it holds none."""
    text = EMPHASIS.sub(" ", text)
    for match in reversed(list(NUMBER.finditer(text))):
        start = match.start("digits")
        if not OPERATOR_BEFORE.search(text, max(0, start - WINDOW), start):
            return _value(match)
    return None


def number(text: str) -> Fraction | None:
    """The number that the whole text is, blanks at its ends apart; None where it is anything else."""
    match = NUMBER.fullmatch(text.strip(" \t\r\n"))
    return None if match is None else _value(match)


def same(text: str, value: Fraction | int) -> bool:
    """Whether `text` is a number, as the data set writes it, of exactly this value."""
    return number(text) == value


def _value(match: re.Match[str]) -> Fraction:
    digits = Fraction(match["digits"].replace(",", ""))
    return digits if (match["sign"] or match["inner"] or "+") == "+" else -digits
