"""How much of an advantage each rule lets through at each importance ratio: made from the rules themselves, by autograd.

    python benchmarks/effective_weights.py            writes bench/report/effective_weights.json
    python benchmarks/effective_weights.py --check    exit code 1 where the file is not what the rules give now

The weight is the slope of a rule's surrogate along log pi over that of the plain policy gradient, the probe `gate`, on a completion of one
token; its ratio is then the token's, the completion's mean and the whole completion's at once. What a rule looks at is told apart on two
tokens. Settings are the rules' defaults, which are the papers'. A place where the weight jumps is closed in on from both sides.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from algorithms.base import Batch, Credit, Forward, PolicyGradient
from bench import registry
from bench.loops import probes

PATH = Path(__file__).parents[1] / "bench" / "report" / "effective_weights.json"
REACH, POINTS, JUMP, NEAR = 4.0, 161, 0.1, 1e-7  # ratios from 1/4 to 4; what counts as a jump, and how closely it is bracketed
UNITS = ("token", "sequence, mean", "sequence, product")


def weights(rule: PolicyGradient, log_ratios: torch.Tensor, sign: float) -> torch.Tensor:
    """(B, T) weight of each action of completions with these (B, T) log-ratios, where every advantage is `sign`; float64."""
    zero = torch.zeros_like(log_ratios)
    batch = Batch(group=torch.arange(len(zero)), reward=zero, mask=torch.ones_like(zero, dtype=torch.bool), old_logp=zero)
    return probes.gate(rule, Forward(log_ratios), batch, Credit(advantage=zero + sign, weight=zero + 1))


def curve(rule: PolicyGradient, sign: float) -> tuple[list[float], list[float]]:
    """Ratios, and the weight at each."""

    def at(places: torch.Tensor) -> torch.Tensor:
        return weights(rule, places[:, None], sign)[:, 0]

    end = math.log(REACH)
    places = torch.linspace(-end, end, POINTS, dtype=torch.float64)
    found = at(places)
    jumps = (found.diff().abs() > JUMP).nonzero().flatten().tolist()
    for i in jumps:
        places = torch.cat([places, _around(at, places[i], places[i + 1])])
    places = places.sort().values
    return [_rounded(value, 9) for value in places.exp().tolist()], [_rounded(value, 5) for value in at(places).tolist()]


def _around(at: Callable[[torch.Tensor], torch.Tensor], low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Two places on either side of the steepest change between two."""
    while high - low > NEAR:
        middle = (low + high) / 2
        left, mid, right = at(torch.stack([low, middle, high]))
        low, high = (low, middle) if (mid - left).abs() > (right - mid).abs() else (middle, high)
    return torch.stack([low, high])


def unit(rule: PolicyGradient) -> str:
    """Whose ratio the rule weighs by: seen from completions of two tokens, one or both of which have moved."""
    for sign in (1.0, -1.0):
        for shift in (-0.3, -1e-2, -1e-4, 1e-4, 1e-2, 0.3):
            log_ratios = torch.tensor([[0.0, 0.0], [shift, 0.0], [shift, shift]], dtype=torch.float64)
            still, beside, together = weights(rule, log_ratios, sign)[:, 1]
            alone, twice = weights(rule, torch.tensor([[shift], [2 * shift]], dtype=torch.float64), sign)[:, 0]
            if not torch.isclose(still, beside, rtol=1e-9) and not torch.isclose(alone, twice, rtol=1e-9):
                return UNITS[1] if torch.isclose(together, alone, rtol=1e-9) else UNITS[2]
    return UNITS[0]


def made() -> dict[str, Any]:
    """Of every policy-gradient rule of ours that is no control."""
    found = {}
    for name in registry.names("algorithms"):
        cls = registry.load("algorithms", name)
        if not issubclass(cls, PolicyGradient) or cls.control or not cls.__module__.startswith("algorithms."):
            continue
        rule = cls()
        sides = {side: dict(zip(("ratio", "weight"), curve(rule, sign), strict=True)) for side, sign in (("good", 1.0), ("bad", -1.0))}
        flat = all(value == 1 for side in sides.values() for value in side["weight"])
        found[name] = {"unit": "none" if flat else unit(rule), **sides}
    return found


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}") + 0.0


def text() -> str:
    """One line a rule and side, so that a change is seen where it is."""
    rules = made()
    sides = {
        name: ",\n  ".join([f'"unit": "{held["unit"]}"', *(f'"{side}": {json.dumps(held[side])}' for side in ("good", "bad"))])
        for name, held in rules.items()
    }
    return "{\n" + ",\n".join(f' "{name}": {{\n  {body}}}' for name, body in sides.items()) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        sys.exit(0 if PATH.read_text() == text() else f"{PATH} is not what the rules give; run {sys.argv[0]}")
    PATH.write_text(text())
    print(PATH)


if __name__ == "__main__":
    main()
