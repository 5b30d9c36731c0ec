from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hostile import HEDGES, HUGE, UNREADABLE
from hypothesis import given
from hypothesis import strategies as st

from tasks import answers

GSM8K = Path(__file__).parents[1].parent / "shared" / "data" / "gsm8k"
LIMIT = 10.0  # seconds: far above what linear time needs for a megabyte, far below what quadratic time needs

READ = {
    "18": 18,
    "+18": 18,
    "-18": -18,
    "\u221218": -18,
    "18.0": 18,
    ".5": Fraction(1, 2),
    "-.25": Fraction(-1, 4),
    "0.1": Fraction(1, 10),
    "$18": 18,
    "$ 18": 18,
    r"\$18": 18,
    "-$18.50": Fraction(-37, 2),
    "$-18": -18,
    "18\u20ac": 18,
    "$18$": 18,
    "50%": 50,
    r"50\%": 50,
    "1,234,567": 1234567,
    "1,234.5": Fraction(2469, 2),
    "18 dollars": 18,
    "18 dollars.": 18,
    "18.": 18,
    "18!": 18,
    "18, of course": 18,
    "18 km/h": 18,
    "18 - the total": 18,
    "7" * 40: int("7" * 40),
}
REFUSED = [
    *("1,23", "1,2345", "1234,567", ",123", "1.2.3", "1,234,56", "1e999", "1e5", "1_000", "0x10", "0b1", "12abc", "abc12", "1/2", "3*4"),
    *("5-3", "--5", "+-5", "-", "$", "%", ".", "NaN", "inf", "12:30", "18^2", "18th", "7" * 41, "0." + "7" * 41, "18%%", "1 / 2"),
    *("5 - 3", "3 x 4", "18 million", "18 * x", "18\0", "18\udc80", "\u0661\u0668", "1\u0661", "\uff11", "2\u00b2", "\u00bd", "1\u00bd"),
]


@pytest.mark.parametrize(("text", "value"), READ.items())
def test_a_number_is_read_after_the_marker_and_anywhere(text: str, value: Fraction) -> None:
    assert answers.strict(f"so it is 3 and\n#### {text}") == value
    assert answers.strict(f"####{text}\nNext question: 4 + 4") == value
    assert answers.lenient(f"3 and then {text}") == value


@pytest.mark.parametrize("text", REFUSED)
def test_no_part_of_something_else_is_read(text: str) -> None:
    assert answers.strict(f"#### {text}") is None
    assert answers.lenient(text) is None


@pytest.mark.parametrize("text", ["18", "no 18", "###18", "##### 18", "#### \n18", "#### is 18", "#### (18)", "#### 18=18", "18 ####"])
def test_strict_wants_the_number_straight_after_the_marker(text: str) -> None:
    assert answers.strict(text) is None


@pytest.mark.parametrize("text", HEDGES.values(), ids=HEDGES)
def test_hedges_are_no_strict_answer(text: str) -> None:
    assert answers.strict(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9 * 2 = $<<9*2=18>>18 every day", 18),
        ("<<9*2=18>>", 18),
        ("The answer is **18**.", 18),
        ("**18 dollars**", 18),
        (r"so $\boxed{18}$", 18),
        (r"\(x = 18\)", 18),
        ("answer:18", 18),
        ("- 18 apples", 18),
        ("3 eggs, 4 pans", 4),
        ("is it 6? no: 1/2", 6),
        ("#### 7\n#### 8", 8),
        ("nothing", None),
    ],
)
def test_lenient_takes_the_last_number(text: str, value: int | None) -> None:
    assert answers.lenient(text) == value


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_answers_are_none(text: str) -> None:
    assert answers.strict(text) is None
    assert answers.lenient(text) is None


@pytest.mark.parametrize("read", [answers.strict, answers.lenient])
@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_a_megabyte_takes_linear_time(text: str, read: Callable[[str], Fraction | None]) -> None:
    began = time.process_time()
    value = read(text)
    assert time.process_time() - began < LIMIT
    assert value is None or value in (1, 7)


@pytest.mark.parametrize(("text", "same"), [("18", True), (" 1,8 ", False), ("18.0", True), ("$18", True), ("18 eggs", False), ("", False)])
def test_same_compares_exactly(text: str, same: bool) -> None:
    assert answers.same(text, Fraction(18)) is same


def test_same_has_no_tolerance() -> None:
    assert not answers.same("0.3333333333", Fraction(1, 3))
    assert answers.same("0.1", Fraction(1, 10))


@given(
    value=st.decimals(min_value=-(10**15), max_value=10**15, allow_nan=False, places=3),
    grouped=st.booleans(),
    money=st.sampled_from(["", "$", "\u20ac", "\\$"]),
    tail=st.sampled_from(["", "%", ".", " dollars", " eggs.", "!", ",", "\nand so on", " per km"]),
    lead=st.sampled_from(["", " ", "  ", "\t"]),
)
def test_every_style_of_a_number_is_read_exactly(value: Decimal, grouped: bool, money: str, tail: str, lead: str) -> None:
    digits = f"{abs(value):,f}" if grouped else f"{abs(value):f}"
    text = f"{'-' if value < 0 else ''}{money}{digits}{tail}"
    assert answers.strict(f"work\n####{lead}{text}") == Fraction(value)
    assert answers.lenient(f"work = {text}") == Fraction(value)


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    for read in (answers.strict, answers.lenient, answers.number):
        assert isinstance(read(f"#### {text}"), Fraction | None)


@given(st.text(alphabet="0123456789+-*/.,$% x()=e#\n", max_size=12))
def test_a_strict_answer_is_the_only_number_of_its_line(text: str) -> None:
    value = answers.strict(f"#### {text}")
    if value is not None:
        runs = re.findall(r"[0-9.,]*[0-9][0-9.,]*", text.partition("\n")[0])
        assert len(runs) == 1
        assert abs(value) == Fraction(runs[0].rstrip(".,").replace(",", ""))


@pytest.mark.parametrize("name", ["train", "test"])
def test_every_gold_answer_of_gsm8k_reads_as_itself(name: str) -> None:
    if not GSM8K.is_dir():
        pytest.skip("the GSM8K files are not beside this checkout")
    lines = (GSM8K / f"{name}.jsonl").read_text().splitlines()
    assert len(lines) == {"train": 7473, "test": 1319}[name]
    for line in lines:
        answer = json.loads(line)["answer"]
        gold = Fraction(answer.partition("####")[2].strip().replace(",", ""))
        assert (answers.strict(answer), answers.lenient(answer)) == (gold, gold), answer
