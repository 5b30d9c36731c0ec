from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hostile import HEDGES, HUGE, UNREADABLE
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.expressions import DIGITS, LONGEST, evaluate

Tree = int | tuple["Tree", str, "Tree"]
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.integers(0, 99), lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner), max_leaves=20
)


def value_of(tree: Tree) -> Fraction:
    """The meaning of a tree by recursion: shares nothing with the evaluator under test. Raises ZeroDivisionError."""
    if isinstance(tree, int):
        return Fraction(tree)
    left, right = value_of(tree[0]), value_of(tree[2])
    return {"+": left.__add__, "-": left.__sub__, "*": left.__mul__, "/": left.__truediv__}[tree[1]](right)


def leaves(tree: Tree) -> list[int]:
    return [tree] if isinstance(tree, int) else leaves(tree[0]) + leaves(tree[2])


def bare(tree: Tree) -> str:
    """The tree with the brackets that precedence asks for and no others."""
    if isinstance(tree, int):
        return str(tree)
    left, operator, right = tree
    tight = operator in "*/"
    first = f"({bare(left)})" if tight and isinstance(left, tuple) and left[1] in "+-" else bare(left)
    second = bare(right)
    if isinstance(right, tuple) and (operator == "/" or (operator in "-*" and (operator == "*" or right[1] in "+-"))):
        second = f"({second})"
    return f"{first}{operator}{second}"


def full(tree: Tree) -> str:
    return str(tree) if isinstance(tree, int) else f"( {full(tree[0])} {tree[1]}\t{full(tree[2])} )"


@given(TREES)
def test_a_random_tree_has_its_recursive_value(tree: Tree) -> None:
    try:
        value = value_of(tree)
    except ZeroDivisionError:
        with pytest.raises(ValueError, match="divided by zero"):
            evaluate(full(tree))
        return
    for text in (bare(tree), full(tree)):
        assume(len(text) <= LONGEST)
        assert evaluate(text) == (value, leaves(tree))


@given(TREES)
def test_python_reads_the_same_tree_from_the_text(tree: Tree) -> None:
    text = bare(tree)
    try:
        value = eval(re.sub(r"\d+", r"Fraction(\g<0>)", text), {"Fraction": Fraction})
    except ZeroDivisionError:
        value = None
    if value is None:
        with pytest.raises(ValueError, match="divided by zero"):
            evaluate(text)
    else:
        assert evaluate(text)[0] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("((7))", 7),
        ("8-3-2", 3),
        ("16/4/2", 2),
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("1/3+1/6", Fraction(1, 2)),
        ("8 \u00f7 2 \u00d7 3", 12),
        ("5\u22126", -1),
        ("3x4", 12),
        ("007", 7),
    ],
)
def test_usual_precedence_from_left_to_right(text: str, value: Fraction) -> None:
    assert evaluate(text)[0] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends where a number"),
        ("3+", "ends where a number"),
        ("-3", "'-' stands where"),
        ("3 4", "'4' stands where"),
        ("2(3)", r"'\(' stands where"),
        ("()", r"'\)' stands where"),
        ("3)", "no opening one"),
        ("(3", "no closing one"),
        ("2**3", r"'\*' stands where"),
        ("1/0", "1 is divided by zero"),
        ("1/(2-2)", "divided by zero"),
        ("1.5", "'.' is no part"),
        ("1,000", "',' is no part"),
        ("3+4=7", "'=' is no part"),
        ("1e5", "'e' is no part"),
        ("1\n", "is no part"),
        ("\u0661", "is no part"),
        ("\u00b2", "is no part"),
        ("\udc80", "is no part"),
        ("1" * (DIGITS + 1), f"at most {DIGITS}"),
        ("1+" * LONGEST + "1", f"at most {LONGEST}"),
        ("(" * 100_000 + "1" + ")" * 100_000, f"at most {LONGEST}"),
    ],
)
def test_what_is_no_expression_is_a_value_error_that_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(text)


@pytest.mark.parametrize("text", [*UNREADABLE.values(), *HEDGES.values(), *HUGE.values()], ids=[*UNREADABLE, *HEDGES, *HUGE])
def test_hostile_text_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"expression|stands where|digits|bracket"):
        evaluate(text)


def test_the_deepest_nesting_that_the_cap_allows_is_read() -> None:
    depth = (LONGEST - 1) // 2
    assert evaluate("(" * depth + "7" + ")" * depth) == (Fraction(7), [7])


@given(st.text(alphabet="0123456789+-*/() x.=e", max_size=30))
def test_any_text_gives_a_value_or_a_value_error(text: str) -> None:
    try:
        value, used = evaluate(text)
    except ValueError:
        return
    assert isinstance(value, Fraction)
    assert used == [int(digits) for digits in re.findall(r"\d+", text)]
