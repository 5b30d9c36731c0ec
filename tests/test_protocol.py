"""How full-tier tasks are asked and read, pinned: a change of any of it takes a new version, and new lines here."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.cli import app
from tasks import countdown, gsm8k, math, rg
from tasks.base import Problem, TextTask

LARGE = countdown.Countdown(tier="full", **countdown.Countdown.presets["full"])

PINNED: dict[str, tuple[TextTask, str, str, int]] = {
    "gsm8k/1": (
        gsm8k.GSM8K(tier="full"),
        "f7d7c6a1f0c5",
        "Why?\nThink step by step, then write #### and the answer as a number.\n",
        512,
    ),
    "countdown/1": (
        LARGE,
        "1e3d5fc407b2",
        "Why? You may add, subtract, multiply and divide (+ - * /), use brackets, and must use each number exactly once.\n"
        "Think step by step, then write #### and the expression alone, such as #### (1 + 2) / 3\n",
        1024,
    ),
    "math/1": (math.Math(), "72f36e44d6e9", "Why?\nThink step by step, then put the final answer in \\boxed{}.\n", 2048),
    "rg/1": (
        rg.RG(),
        "1e1b72264006",
        "Why?\n\nThink step by step, then give the final answer alone between <answer> and </answer>.\n",
        1024,
    ),
}

# Text, and its strict, lenient and format verdicts.
Read = tuple[str, tuple[int, int, int]]
READ: dict[str, tuple[dict[str, Any], list[Read]]] = {
    "gsm8k/1": (
        {"gold": "1,200"},
        [
            ("600 + 600 = 1200\n#### 1200", (1, 1, 1)),
            ("#### $1,200.00 a year", (1, 1, 1)),
            ("#### 1201", (0, 0, 1)),
            ("The answer is 1200.", (0, 1, 0)),
            ("**1200**", (0, 1, 0)),
            ("#### 1200\n#### 1201", (0, 0, 0)),
            ("#### 1200 or 1300", (0, 0, 0)),
            ("#### about 1200", (0, 1, 0)),
            ("", (0, 0, 0)),
        ],
    ),
    "countdown/1": (
        {"numbers": [3, 5, 7, 8], "target": 7},
        [
            ("8-5=3, so\n#### (8 - 5) * 7 / 3", (1, 1, 1)),
            ("#### (8 - 5) * 7 / 3\nDone.", (0, 1, 0)),
            ("#### (8 - 5) * 7 / 3 = 7", (0, 1, 0)),
            ("(8 \u2212 5) \u00d7 7 \u00f7 3", (0, 1, 0)),
            ("#### 8 + 7 - 5 - 3", (1, 1, 1)),
            ("#### 8 - 5 + 7 - 3 * 1", (0, 0, 1)),
            ("", (0, 0, 0)),
        ],
    ),
    "math/1": (
        {"gold": "\\frac{3}{4}", "question": "Why?"},
        [
            ("It is \\boxed{\\frac{3}{4}}.", (1, 1, 1)),
            ("\\boxed{0.75}", (1, 1, 1)),
            ("\\boxed{ \\frac34 }", (1, 1, 1)),
            ("\\boxed{x = \\frac{6}{8}}", (1, 1, 1)),
            ("\\boxed{1} no, \\boxed{\\dfrac{3}{4}}", (1, 1, 1)),
            ("\\boxed{\\frac{3}{4}} no, \\boxed{1}", (0, 0, 1)),
            ("\\boxed{\\frac{3}{4}, 1}", (0, 0, 1)),
            ("\\boxed{\\frac{3}{4}", (0, 1, 0)),
            ("The final answer is $\\frac{3}{4}$.", (0, 1, 0)),
            ("The answer is 3/4", (0, 1, 0)),
            ("\\boxed{}", (0, 0, 0)),
            ("", (0, 0, 0)),
        ],
    ),
}


@pytest.mark.parametrize("name", PINNED)
def test_a_protocol_is_what_it_was(name: str) -> None:
    task, digest, prompt, limit = PINNED[name]
    stated = task.protocol()
    assert stated is not None
    assert (stated.name, stated.digest, stated.asked("Why?"), task.cap) == (name, digest, prompt, limit)


@pytest.mark.parametrize("name", READ)
def test_answers_are_read_as_they_were(name: str) -> None:
    facts, texts = READ[name]
    for text, verdict in texts:
        parts = PINNED[name][0].score(Problem("x", "", "", facts), text).parts
        assert tuple(parts[part] for part in ("strict", "lenient", "format")) == verdict, text


def test_the_digest_tells_of_every_part() -> None:
    stated = gsm8k.PROTOCOL
    others = [replace(stated, **{f.name: getattr(stated, f.name) * 2 + type(getattr(stated, f.name))(7)}) for f in fields(stated)]
    assert len({stated.digest, *(other.digest for other in others)}) == len(fields(stated)) + 1


def test_a_question_is_put_in_as_it_is() -> None:
    assert gsm8k.PROTOCOL.asked("{x} {question} %s").startswith("{x} {question} %s\nThink")


def test_the_listing_states_them() -> None:
    lines = [json.loads(line) for line in CliRunner().invoke(app, ["ls", "tasks", "--json"]).output.splitlines()]
    found = {line["name"]: line["protocol"] for line in lines}
    assert {held["name"]: held["digest"] for held in found.values() if held} == {name: pin[1] for name, pin in PINNED.items()}
    assert found["last_digit"] is None and found["gsm8k"]["limit"] == 512
