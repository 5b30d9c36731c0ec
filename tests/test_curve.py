"""The picture of one run: what it shows, what it says where there is nothing to show, and where it goes."""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.offsetbox import AnchoredOffsetbox

from bench.errors import StoreError
from bench.record import Record
from bench.report.curve import BELIEF, draw, figure_of, tokens_text

PROBES = {"entropy/token": 0.8, "gate": 0.97, "len/mean": 12.0}


def record(step: int) -> Record:
    return Record(
        step=step,
        samples=64 * step,
        tokens=700 * step,
        verifier_calls=64 * step,
        updates=4 * step,
        seconds=float(step),
        cpu_seconds=float(step),
        train_score=0.05 * step,
        eval_score=0.06 * step if step % 5 == 0 else None,
        probes={name: value + 0.001 * step for name, value in PROBES.items()} if step else {},
    )


RECORDS = [record(step) for step in range(11)]


def drawn(axis: object) -> list[list[tuple[float, float]]]:
    return [list(zip(*line.get_data(), strict=True)) for line in axis.get_lines()]  # type: ignore[attr-defined]


def test_the_file_is_a_png_twelve_hundred_pixels_wide_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw(RECORDS, "GRPO, seed 0", tmp_path / "made" / f"{name}.png")
    data = (tmp_path / "made" / "a.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", data[16:20]) == (1200,)
    assert data == (tmp_path / "made" / "b.png").read_bytes()


def test_each_panel_shows_its_numbers_against_tokens() -> None:
    score, entropy, gate, length = figure_of(RECORDS, "GRPO").axes
    training, held_out = drawn(score)
    assert training == [(r.tokens, r.train_score) for r in RECORDS[1:]]  # nothing was trained on before the first step
    assert held_out == [(0, 0.0), (3500, pytest.approx(0.3)), (7000, pytest.approx(0.6))]
    for axis, key in ((entropy, "entropy/token"), (gate, "gate"), (length, "len/mean")):
        assert drawn(axis)[0][1:] == [(r.tokens, r.probes[key]) for r in RECORDS[1:]]


def test_a_reward_models_belief_stands_beside_the_verdict() -> None:
    """And what it cost before the first step is no point of the training curve."""
    records = [replace(r, samples=r.samples + 2560, tokens=r.tokens + 25_000) for r in map(record, range(11))]
    records = [r if r.eval_score is None else replace(r, probes={**r.probes, BELIEF: 0.4 + 0.05 * r.step}) for r in records]
    training, held_out, believed = drawn(figure_of(records, "paid by a model").axes[0])
    assert training[0] == (25_700, 0.05)
    assert [y for _, y in held_out] == pytest.approx([0.0, 0.3, 0.6])
    assert believed == [(25_000, 0.4), (28_500, pytest.approx(0.65)), (32_000, pytest.approx(0.9))]


def test_a_missing_probe_is_said_and_not_drawn_as_zero() -> None:
    records = [replace(r, probes={k: v for k, v in r.probes.items() if k != "gate"}) for r in RECORDS]
    _, entropy, gate, _ = figure_of(records, "no gate").axes
    assert drawn(gate) == []
    assert [text.get_text() for text in gate.texts] == ["not defined for this rule"]
    assert [text.get_text() for text in entropy.texts] == []


def test_a_run_that_only_evaluated_says_so(tmp_path: Path) -> None:
    axes = figure_of(RECORDS[:1], "start").axes
    assert [axis.texts[0].get_text() for axis in axes[1:]] == ["no training step yet"] * 3
    draw(RECORDS[:1], "start", tmp_path / "start.png")
    assert (tmp_path / "start.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (950, "950"), (1000, "1k"), (1500, "1.5k"), (250_000, "250k"), (2e6, "2M"), (3.2e9, "3.2B")]
)
def test_tokens_are_written_short(count: float, text: str) -> None:
    assert tokens_text(count) == text


def test_no_records_and_no_place_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no records to draw for 'empty'"):
        draw([], "empty", tmp_path / "x.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*x\.png: .*choose another place"):
        draw(RECORDS, "title", tmp_path / "file" / "x.png")


def test_drawing_leaves_the_callers_style_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure_of(RECORDS, "title")
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_only_to_draw() -> None:
    code = "import sys, bench.report.curve; print([n for n in ('matplotlib', 'seaborn', 'pandas', 'torch') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert done.stdout.strip() == "[]"


def controlled(step: int, probes: dict[str, float]) -> Record:
    found = {name: value + step for name, value in probes.items() if step or name.startswith(("eval/", "q/over"))}
    found = {name: value for name, value in found.items() if step % 5 == 0 or not name.startswith(("eval/", "q/over"))}
    return replace(record(step), tokens=100 * step, probes=found)


@pytest.mark.parametrize(
    ("probes", "titles"),
    [
        ({"entropy/token": 0.1, "gate": 1.0, "value/explained_var": 0.5, "eval/length": 9.0}, ["Entropy", "Gate", "Critic"]),
        ({"entropy/token": 0.1, "gate": 1.0, "eval/length": 9.0}, ["Entropy", "Gate", "Length"]),
        ({"q/overestimation": 3.0, "td/abs_mean": 0.1, "q/action_gap": 0.2}, ["Overestimation", "Temporal difference", "Action gap"]),
        ({"q/overestimation": 3.0, "td/abs_mean": 0.1, "cql/gap": 2.0}, ["Overestimation", "Conservative gap", "Temporal difference"]),
        ({"bc/loss": 0.1, "grad/norm_policy": 1.0, "eval/length": 9.0}, ["Cloning", "Length", "Gradient"]),
    ],
)
def test_panels_of_control_are_those_that_a_run_has(probes: dict[str, float], titles: list[str]) -> None:
    records = [controlled(step, probes | {"eval/return": 20.0}) for step in range(11)]
    figure = figure_of(records, "DQN", "environment steps")
    score, *panels = figure.axes
    assert [axis.get_title(loc="left") for axis in panels] == titles
    assert figure.axes[2].get_xlabel() == "environment steps of training"
    assert score.get_title(loc="right") == "0: random, 1: known to be reached"


def test_what_only_evaluations_know_is_a_line_through_them() -> None:
    records = [controlled(step, {"q/overestimation": 3.0, "eval/return": 20.0}) for step in range(11)]
    assert drawn(figure_of(records, "DQN", "environment steps").axes[1])[0] == [(0, 3.0), (500, 8.0), (1000, 13.0)]


def test_a_score_that_is_a_return_is_called_so() -> None:
    records = [replace(controlled(step, {"eval/return": 20.0}), eval_score=20.0 + step if step % 5 == 0 else None) for step in range(11)]
    assert figure_of(records, "PPO", "environment steps").axes[0].get_title(loc="right") == "mean return"


@pytest.mark.parametrize(("end", "place"), [(-0.5, 1), (0.9, 4)])  # matplotlib's codes of the upper and the lower right
def test_the_lines_names_keep_away_from_where_the_lines_end(end: float, place: int) -> None:
    records = [replace(record(step), train_score=0.45 * end, eval_score=step * end / 10) for step in range(11)]
    (names,) = (child for child in figure_of(records, "SAC").axes[0].get_children() if isinstance(child, AnchoredOffsetbox))
    assert names.loc == place
