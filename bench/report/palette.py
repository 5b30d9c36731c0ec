"""One look for each algorithm: the same colour, dash and marker in every picture and on the page, whatever else is shown.

Colours: eight far apart under normal sight and under each of the three colour blindnesses, after those of Okabe and Ito, and readable on
white and on near black alike. A relative has its parent's hue, and a dash and a marker of its own; controls are grey. Nothing is told
by colour alone.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

SOLID: tuple[float, ...] = ()
DASHED, DOTTED, DASH_DOT, LONG, DASH_DOTS = (5.0, 2.0), (1.2, 1.4), (6.0, 1.6, 1.2, 1.6), (9.0, 2.5), (6.0, 1.4, 1.2, 1.4, 1.2, 1.4)
DASHES = (DASHED, DOTTED, DASH_DOT, LONG, DASH_DOTS)
MARKERS = ("<", ">", "d", "p", "h", "8", "H")


@dataclass(frozen=True)
class Look:
    """How one algorithm is drawn."""

    color: str  # "#rrggbb"
    dash: tuple[float, ...] = SOLID  # lengths of strokes and gaps in multiples of the line's width; none: a solid line
    marker: str = "o"  # matplotlib's name
    control: bool = False  # there to be beaten: thin and grey

    @property
    def line(self) -> tuple[float, tuple[float, ...]] | str:
        """The dash as matplotlib's linestyle."""
        return (0.0, self.dash) if self.dash else "-"


MAIN = {
    "reinforce": Look("#1a8f74", SOLID, "^"),
    "a2c": Look("#c6a418", SOLID, "X"),
    "ppo": Look("#d95708", SOLID, "s"),
    "dpo": Look("#97330f", SOLID, "*"),
    "grpo": Look("#2a4fd0", SOLID, "o"),
    "dapo": Look("#26a8f5", SOLID, "v"),
    "gspo": Look("#70427f", SOLID, "D"),
    "sapo": Look("#f765bd", SOLID, "P"),
}
RELATIVES = {
    "rloo": Look("#57b899", DASHED, "<"),
    "reinforce_plus_plus": Look("#3f7d3a", DASH_DOT, ">"),
    "dr_grpo": Look("#7d92ee", DASHED, "8"),
    "cispo": Look("#1674ab", DASHED, "d"),
    "gmpo": Look("#a57dbb", DASHED, "h"),
    "vespo": Look("#c23c8d", DASHED, "p"),
    "dqn": Look("#66800f", LONG, "H"),
    "sac": Look("#12798c", LONG, "<"),
    "cql": Look("#c9304d", LONG, ">"),
}
CONTROLS = {
    "untrained": Look("#7a7a7a", DOTTED, "x", control=True),
    "random_reward": Look("#8f8f8f", DASHED, "+", control=True),
    "format_reward": Look("#6d6d6d", DASH_DOT, "1", control=True),
    "shuffled_advantage": Look("#9b9b9b", LONG, "2", control=True),
    "sft_on_correct": Look("#828282", SOLID, "3", control=True),
    "bc": Look("#767676", DASH_DOTS, "4", control=True),
}
KNOWN = MAIN | RELATIVES | CONTROLS


def look(algorithm: str) -> Look:
    """The look of an algorithm by name; one that is not ours gets one that depends on its name alone."""
    return KNOWN.get(algorithm) or _foreign(algorithm)


def looks(entries: Sequence[tuple[str, str]]) -> dict[str, Look]:
    """The look of each (label, algorithm), by label. Variants of one algorithm share its colour; the later ones have other dashes and
    markers."""
    met: dict[str, int] = {}
    found = {}
    for label, algorithm in entries:
        own, turn = look(algorithm), met.get(algorithm, 0)
        met[algorithm] = turn + 1
        if turn:
            dashes = [dash for dash in (SOLID, *DASHES) if dash != own.dash]
            own = replace(own, dash=dashes[(turn - 1) % len(dashes)], marker=MARKERS[(turn - 1) % len(MARKERS)])
        found[label] = own
    return found


def _foreign(name: str) -> Look:
    """A hue, dash and marker from the name's hash; as light as it must be to stand out from black."""
    digest = hashlib.sha256(name.encode()).digest()
    hue = int.from_bytes(digest[:2], "big") / 65536
    shades = (colorsys.hls_to_rgb(hue, percent / 100, 0.55) for percent in range(30, 70))
    red, green, blue = next(shade for shade in shades if luminance(shade) >= 0.15)
    color = "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))
    return Look(color, DASHES[digest[2] % len(DASHES)], MARKERS[digest[3] % len(MARKERS)])


def luminance(color: Sequence[float]) -> float:
    """Relative luminance of red, green and blue between 0 and 1, as the rules for contrast on the web define it (WCAG 2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return sum(part * share for part, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
