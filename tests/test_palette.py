"""One look for each algorithm: told apart by every kind of sight, on white and on black, and the same wherever it is met."""

from __future__ import annotations

from itertools import combinations

import numpy
import pytest
from numpy.typing import NDArray

from bench import registry
from bench.report.palette import CONTROLS, KNOWN, MAIN, Look, look, looks, luminance

# Machado, Oliveira and Fernandes 2009, "A physiologically-based model for simulation of color vision deficiency", full severity.
SIGHT = {
    "normal": numpy.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
WHITE, DARK = 1.0, 0.0085  # relative luminance of paper, and of #16181d


def linear(color: str) -> NDArray[numpy.float64]:
    parts = numpy.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return numpy.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(rgb: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """Ottosson 2020: equal steps look about equally large; black to white is 1."""
    cones = numpy.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    opponents = numpy.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return opponents @ numpy.cbrt(cones @ rgb.clip(0, 1))


def contrast(color: str, ground: float) -> float:
    light, dark = sorted((luminance([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]), ground), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("sight", SIGHT)
def test_the_eight_main_colors_are_far_apart_for_every_kind_of_sight(sight: str) -> None:
    seen = {name: oklab(numpy.array(SIGHT[sight]) @ linear(own.color)) for name, own in MAIN.items()}
    nearest = min((float(numpy.linalg.norm(seen[a] - seen[b])), a, b) for a, b in combinations(seen, 2))
    assert nearest[0] > 0.095, nearest  # those of Okabe and Ito, on white alone, come as near as 0.076


def test_every_color_stands_out_on_white_and_on_black() -> None:
    for name in (*KNOWN, *(f"plug_in_{i}" for i in range(200))):
        assert contrast(look(name).color, WHITE) > 2.2, name
        assert contrast(look(name).color, DARK) > 2.2, name


def test_every_algorithm_of_ours_has_a_look_of_its_own() -> None:
    names = registry.names("algorithms")
    assert set(KNOWN) == set(names)
    assert len({own.color for own in KNOWN.values()}) == len(KNOWN)
    assert len({(own.dash, own.marker) for own in KNOWN.values()}) == len(KNOWN)  # told apart without any color
    assert set(CONTROLS) == {name for name in names if registry.load("algorithms", name).control}


def test_a_plug_in_has_the_same_look_whatever_stands_beside_it() -> None:
    alone = looks([("mine", "mine")])["mine"]
    beside = looks([("grpo", "grpo"), ("mine", "mine"), ("other", "other")])
    assert alone == beside["mine"] == look("mine")
    assert alone != beside["other"]


def test_variants_share_a_color_and_differ_in_the_rest() -> None:
    found = looks([(f"grpo clip={i}", "grpo") for i in range(5)])
    assert {own.color for own in found.values()} == {MAIN["grpo"].color}
    assert len({(own.dash, own.marker) for own in found.values()}) == 5
    assert found["grpo clip=0"] == MAIN["grpo"]


def test_a_dash_is_what_matplotlib_takes() -> None:
    assert Look("#000000").line == "-"
    assert Look("#000000", (5.0, 2.0)).line == (0.0, (5.0, 2.0))
