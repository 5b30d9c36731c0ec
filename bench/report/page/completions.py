"""What each entry wrote at the start of its training and at the end, for reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.board.groups import Board, Entry
from bench.errors import StoreError
from bench.report.data import Report
from bench.report.page.elements import Html, element, key
from bench.report.palette import looks

LONGEST = 1200  # characters of a completion or prompt that are shown
ENTRIES = 30  # of one board
Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """The first and the last completion that were kept of one run."""

    entry: Entry
    seed: int
    early: Sample
    late: Sample


def pairs(report: Report, board: Board) -> list[Pair]:
    """One for each entry that kept completions, best entry first, of its first seed that has any."""
    found = [pair for entry in report.ordered(board)[:ENTRIES] if (pair := _pair(entry)) is not None]
    return found


def _pair(entry: Entry) -> Pair | None:
    for trial in entry.trials:
        try:
            held = [sample for sample in trial.samples() if isinstance(sample.get("text"), str) and isinstance(sample.get("prompt"), str)]
        except StoreError:
            continue
        if held:
            early, late = chosen(held)
            return Pair(entry, trial.seed, early, late)
    return None


def chosen(held: Sequence[Sample]) -> tuple[Sample, Sample]:
    """An early and a late sample, of one prompt where the first and the last fifth have one in common."""
    fifth = max(1, len(held) // 5)
    first: dict[str, Sample] = {}
    for sample in held[:fifth]:
        first.setdefault(sample["prompt"], sample)
    common = next((sample for sample in reversed(held[-fifth:]) if sample["prompt"] in first), None)
    return (first[common["prompt"]], common) if common is not None and len(held) > 1 else (held[0], held[-1])


def section(report: Report, board: Board) -> Html | None:
    """Folded up, as it is long; None where no run kept any."""
    found = pairs(report, board)
    if not found:
        return None
    drawn = looks([(entry.label, entry.algorithm) for entry in board.entries])
    blocks = [
        [
            element("h4", key(drawn[pair.entry.label]), pair.entry.label, element("small", f" seed {pair.seed}", class_="soft")),
            element("div", _shown("Early", pair.early), _shown("Late", pair.late), class_="pair"),
        ]
        for pair in found
    ]
    about = "Sampled while training, not picked: the first and the last one kept, of one prompt where there is one in both."
    return element("details", element("summary", "What the entries write, early and late"), element("p", about, class_="soft"), blocks)


def _shown(when: str, sample: Sample) -> Html:
    correct = sample.get("correct")
    verdict = (
        None if correct is None else element("span", " right" if correct >= 1 else " wrong", class_="right" if correct >= 1 else "wrong")
    )
    paid = "" if sample.get("reward") is None else f", reward {float(sample['reward']):.3g}"
    return element(
        "div",
        element("small", f"{when}, step {sample.get('step', '?')}{paid}", verdict),
        element("pre", cut(sample["prompt"].rstrip("\n")), class_="prompt"),
        element("pre", cut(sample["text"])),
    )


def cut(text: str) -> str:
    """At most LONGEST characters, and how many more there are."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST} more characters)"
