"""Arithmetic on text that nobody vouches for: no `eval`, no recursion, exact fractions, bounded work.

    expression = operand (operator operand)*        usual precedence, left to right
    operand    = integer | "(" expression ")"       no sign: a negative number is the difference of two
    integer    = 1 to 20 ASCII digits
    operator   = "+" | "-" | "*" | "/", also as "x" and the typographic minus, times and division signs

Blanks and tabs may stand between these and are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

LONGEST = 1000  # characters of an expression
DIGITS = 20  # of an integer

OPERATORS = {"+": "+", "-": "-", "\u2212": "-", "*": "*", "x": "*", "\u00d7": "*", "/": "/", "\u00f7": "/"}
PRECEDENCE = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2}
TOKEN = re.compile(r"[0-9]+|[^ \t]")


def evaluate(text: str) -> tuple[Fraction, list[int]]:
    """The value of an expression and its integers in the order of the text (Dijkstra's shunting yard).

    Raises ValueError, and nothing else, for what is no expression, is longer than the caps above or divides by zero.
    """
    values: list[Fraction] = []
    waiting: list[str] = []  # operators and open brackets
    used: list[int] = []
    operand_next = True
    for token in _tokens(text):
        if operand_next != (token == "(" or token.isdigit()):
            raise ValueError(f"{token!r} stands where {'a number or an opening bracket' if operand_next else 'an operator'} was expected")
        if token.isdigit():
            used.append(int(token))
            values.append(Fraction(used[-1]))
            operand_next = False
        elif token == "(":
            waiting.append(token)
        elif token == ")":
            _apply(values, waiting, 1)
            if not waiting:
                raise ValueError("a closing bracket has no opening one")
            waiting.pop()
        else:
            _apply(values, waiting, PRECEDENCE[token])
            waiting.append(token)
            operand_next = True
    if operand_next:
        raise ValueError("the expression ends where a number was expected")
    _apply(values, waiting, 1)
    if waiting:
        raise ValueError("an opening bracket has no closing one")
    return values[0], used


def _tokens(text: str) -> Iterator[str]:
    """Integers, brackets and operators in one spelling each."""
    if len(text) > LONGEST:
        raise ValueError(f"the expression has {len(text)} characters; at most {LONGEST} are read")
    for token in TOKEN.findall(text):
        if len(token) > DIGITS:
            raise ValueError(f"an integer has {len(token)} digits; at most {DIGITS} are read")
        if token in OPERATORS:
            yield OPERATORS[token]
        elif token in "()" or "0" <= token[0] <= "9":
            yield token
        else:
            raise ValueError(f"{token!r} is no part of an expression; it takes integers, + - * / and brackets")


def _apply(values: list[Fraction], waiting: list[str], precedence: int) -> None:
    """Work off the waiting operators that bind at least this tightly, back to the last open bracket."""
    while waiting and PRECEDENCE[waiting[-1]] >= precedence:
        operator, right, left = waiting.pop(), values.pop(), values.pop()
        if operator == "/" and right == 0:
            raise ValueError(f"{left} is divided by zero")
        values.append(
            left + right if operator == "+" else left - right if operator == "-" else left * right if operator == "*" else left / right
        )
