"""What each rule makes of an advantage: the file in the package is what the rules give, and that is what their papers say."""

from __future__ import annotations

import json
import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from bench.report.figures.effective_weight import alike, jumps

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "effective_weights.py"
MODULE = runpy.run_path(str(BENCHMARK))
RULES: dict[str, Any] = json.loads(MODULE["PATH"].read_text())


def clip(low: float, high: float) -> dict[str, Callable[[float], float]]:
    return {"good": lambda r: r if r <= high else 0.0, "bad": lambda r: r if r >= low else 0.0}


def sapo(tau: float) -> Callable[[float], float]:
    return lambda r: r / math.cosh(tau * (r - 1) / 2) ** 2


def vespo(k: float, lam: float) -> Callable[[float], float]:
    return lambda r: r**k * math.exp(lam * (1 - r))


CLOSED: dict[str, dict[str, Callable[[float], float]]] = {
    "reinforce": {"good": lambda r: 1.0, "bad": lambda r: 1.0},
    "a2c": {"good": lambda r: 1.0, "bad": lambda r: 1.0},
    **dict.fromkeys(("ppo", "grpo", "dr_grpo", "rloo", "reinforce_plus_plus"), clip(0.8, 1.2)),
    "dapo": clip(0.8, 1.28),
    "gspo": clip(1 - 3e-4, 1 + 4e-4),
    "gmpo": clip(math.exp(-0.4), math.exp(0.4)),
    "cispo": {"good": lambda r: r, "bad": lambda r: r},
    "sapo": {"good": sapo(1.0), "bad": sapo(1.05)},
    "vespo": {"good": vespo(2, 3), "bad": vespo(3, 2)},
}


def test_the_file_is_what_the_rules_give() -> None:
    made = MODULE["made"]()
    assert RULES.keys() == made.keys()
    for name, rule in made.items():
        assert RULES[name]["unit"] == rule["unit"]
        for side in ("good", "bad"):
            for column, near in (("ratio", 1e-6), ("weight", 1e-4)):  # another platform's exp may round otherwise
                assert RULES[name][side][column] == pytest.approx(rule[side][column], rel=near, abs=1e-9), (name, side, column)


@pytest.mark.parametrize("name", RULES)
def test_weights_are_the_closed_forms_of_the_papers(name: str) -> None:
    for side, of in CLOSED[name].items():
        ratio, weight = RULES[name][side]["ratio"], RULES[name][side]["weight"]
        assert (min(ratio), max(ratio)) == pytest.approx((0.25, 4))
        assert weight == pytest.approx([of(r) for r in ratio], rel=2e-4, abs=1e-6)


def test_units_are_those_of_the_ratio_that_a_rule_looks_at() -> None:
    units = {"none": "reinforce a2c", "sequence, mean": "gspo gmpo", "sequence, product": "rloo vespo"}
    units["token"] = "ppo grpo dr_grpo reinforce_plus_plus dapo cispo sapo"
    assert {name: rule["unit"] for name, rule in RULES.items()} == {name: unit for unit, names in units.items() for name in names.split()}


def test_a_jump_is_closed_in_on_from_both_sides() -> None:
    assert jumps(RULES["gspo"]) == ["0.9997", "1.0004"]
    assert jumps(RULES["ppo"]) == ["0.8", "1.2"]
    assert jumps(RULES["sapo"]) == []
    near = numpy.array(RULES["dapo"]["good"]["ratio"])
    assert numpy.abs(near - 1.28).min() < 1e-6


def test_rules_that_agree_share_a_panel() -> None:
    groups = alike(RULES)
    assert groups[0] == ["ppo", "grpo", "reinforce_plus_plus", "dr_grpo"]
    assert ["reinforce", "a2c"] in groups
    assert ["rloo"] in groups  # the same curve, of another ratio
