"""The pictures: every one draws whatever runs there are, and shows the numbers it says it shows."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import boards
import numpy
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report import figures, theme
from bench.report.data import AXES, ENTROPY, SCORE, Report
from bench.report.figures.probability_of_improvement import decided
from bench.report.names import spread
from bench.stats.intervals import Interval

LEVELS = {"grpo": 0.7, "ppo": 0.5, "untrained": 0.1}
PER_BOARD = [name for name in figures.names() if figures.load(name).scope == "board"]


def text(root: Path) -> Report:
    """Two tasks, five seeds; one algorithm has a divergence probe, and one of its seeds left the finite numbers."""
    boards.board(root, LEVELS, tasks=("last_digit", "chain_sum"))
    for seed in range(3):
        end = "diverged" if seed == 1 else "finished"
        probes = {"kl_old/k3": [0.001, 0.01, 0.0], "kl_ref/k1": [0.0, 0.02, -0.01], "entropy/token": [1.0, 0.5, 0.4]}
        boards.finished(root, boards.spec("sapo", seed), [0.2, 0.4, 0.3], end=end, probes=probes)
    return Report.read(root)


def one_seed(root: Path) -> Report:
    boards.board(root, LEVELS, seeds=[3])
    return Report.read(root)


def control(root: Path) -> Report:
    boards.board(root, {"dqn": 0.8, "ppo": 0.6}, tasks=("cartpole",), tier="control")
    boards.finished(root, boards.spec("a2c", 0, "cartpole", tier="control"), [0.1, 0.2], end="diverged")
    return Report.read(root)


def mixed(root: Path) -> Report:
    """Variants of one algorithm, another library's, a run that only evaluated, one that never ended, and one that is broken."""
    for clip in (0.1, 0.2, 0.3):
        for seed in range(2):
            boards.finished(root, boards.spec("grpo", seed, clip=clip), [0.2, 0.3 + clip, 0.4 + 0.01 * seed])
    boards.finished(root, boards.spec("its_own", 0), [0.3])
    boards.finished(root, boards.spec("ppo", 0), [0.2, 0.5], end="stopped")
    (boards.finished(root, boards.spec("ppo", 1), [0.2, 0.5]) / "spec.json").write_text("{")
    control(root)
    return Report.read(root)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    return {make.__name__: make(tmp_path_factory.mktemp(make.__name__)) for make in (text, one_seed, control, mixed)}


@pytest.mark.parametrize("name", figures.names())
@pytest.mark.parametrize("kind", ["text", "one_seed", "control", "mixed"])
def test_every_picture_draws_whatever_runs_there_are(reports: dict[str, Report], kind: str, name: str) -> None:
    report, drawing = reports[kind], figures.load(name)
    for board in report.boards if drawing.scope == "board" else [None]:
        figure = drawing.draw(report, board)
        if figure is None:
            assert drawing.nothing
            continue
        assert ElementTree.fromstring(theme.svg(figure, name)).tag.endswith("svg")
        assert not shown(figure).intersection({"nan", "inf"})


def shown(figure: Figure) -> set[str]:
    return {held.get_text() for axis in figure.axes for held in axis.texts}


@pytest.mark.parametrize("axis", AXES)
def test_a_curve_ends_at_the_entrys_mean_score_on_every_axis(reports: dict[str, Report], axis: str) -> None:
    report = reports["text"]
    for board in report.boards:
        panel = drawn("learning_curves", report, board, axis).axes[0]
        rows = {row.label: row.score.value for row in report.leaderboard(board).rows}
        for label, line in labelled(panel).items():
            assert line.get_ydata()[-1] == pytest.approx(rows[label], abs=1e-9)
        assert set(labelled(panel)) == set(rows)


def test_a_curve_has_the_mean_and_the_band_of_its_seeds_at_each_evaluation(tmp_path: Path) -> None:
    for seed, scores in enumerate(([0.1, 0.2, 0.6], [0.1, 0.4, 0.8], [0.1, 0.6, 0.4])):
        boards.finished(tmp_path, boards.spec("grpo", seed), scores)
    report = Report.read(tmp_path)
    band = report.curve(report.boards[0], report.boards[0].entries[0], SCORE)
    assert band is not None
    assert band.x.tolist() == [0, 500, 1000]
    assert band.value == pytest.approx([0.1, 0.4, 0.6])
    half = 4.302652729911275 * 0.2 / numpy.sqrt(3)  # Student's, two degrees of freedom; the seeds' deviation is 0.2
    assert band.high - band.value == pytest.approx([0, half, half])
    assert band.value - band.low == pytest.approx([0, half, half])


def test_seeds_that_spend_unequally_are_met_between_their_evaluations(tmp_path: Path) -> None:
    """On tokens: seed 1 writes twice as much. After its end a run keeps its score."""
    for seed, budget in ((0, 1000), (1, 1000)):
        boards.finished(tmp_path, boards.spec("grpo", seed, budget=budget), [0.0, 0.4, 0.8])
    report = Report.read(tmp_path)
    entry = report.boards[0].entries[0]
    entry.trials[1].curve["tokens"][:] *= 2  # type: ignore[index]
    band = report.curve(report.boards[0], entry, SCORE, "tokens")
    assert band is not None
    assert band.x.tolist() == [0, 10_000, 20_000, 40_000]
    assert band.value == pytest.approx([0, (0.4 + 0.2) / 2, (0.8 + 0.4) / 2, 0.8])


def test_a_diverged_seed_scores_nothing_from_where_it_ended(tmp_path: Path) -> None:
    boards.finished(tmp_path, boards.spec("grpo", 0), [0.2, 0.4, 0.6])
    boards.finished(tmp_path, boards.spec("grpo", 1), [0.2, 0.4], end="diverged")
    report = Report.read(tmp_path)
    curve = report.boards[0].entries[0].trials[1].curve
    curve["samples"][:] /= 2  # type: ignore[index]  # it came half as far
    board = report.boards[0]
    band = report.curve(board, board.entries[0], SCORE)
    assert band is not None
    assert band.value[0] == pytest.approx(0.2)
    assert band.value[band.x == 500] == pytest.approx([0.4])
    assert band.last == pytest.approx(0.3)  # the mean of 0.6 and 0
    assert "grpo (1 diverged)" in shown(drawn("learning_curves", report, board))


def test_probes_are_joined_where_there_are_many_and_gaps_stay_gaps(tmp_path: Path) -> None:
    boards.many(tmp_path, ("grpo",), range(2), records=200)
    report = Report.read(tmp_path)
    band = report.curve(report.boards[0], report.boards[0].entries[0], ENTROPY)
    assert band is not None
    assert 34 <= len(band.x) <= 40
    raw = report.boards[0].entries[0].trials[0].curve["entropy/token"]
    assert band.value.mean() == pytest.approx(raw.mean(), abs=0.01)
    assert report.curve(report.boards[0], report.boards[0].entries[0], ("nobody/has_it",)) is None


def test_improvement_is_a_percentage_of_pairs_and_ties_are_not_bold(tmp_path: Path) -> None:
    for seed, (strong, weak, other) in enumerate(((0.8, 0.1, 0.79), (0.9, 0.2, 0.91), (0.85, 0.15, 0.86), (0.84, 0.12, 0.83))):
        for name, score in (("grpo", strong), ("untrained", weak), ("ppo", other)):
            boards.finished(tmp_path, boards.spec(name, seed), [0.1, score])
    report = Report.read(tmp_path)
    panel = drawn("probability_of_improvement", report, report.boards[0]).axes[0]
    labels = [tick.get_text() for tick in panel.get_yticklabels()]
    cells = {(labels[int(t.get_position()[1])], labels[int(t.get_position()[0])]): t for t in panel.texts if t.get_text().isdigit()}
    assert {pair: cell.get_text() for pair, cell in cells.items() if "untrained" in pair} == {
        ("grpo", "untrained"): "100",
        ("ppo", "untrained"): "100",
        ("untrained", "grpo"): "0",
        ("untrained", "ppo"): "0",
    }
    assert cells["grpo", "ppo"].get_text() == "50"  # 8 of 16 pairs
    assert {pair for pair, cell in cells.items() if cell.get_fontweight() == "bold"} == {pair for pair in cells if "untrained" in pair}


def test_what_one_seed_cannot_tell_is_not_decided() -> None:
    assert not decided(Interval(float("nan"), 1.0, float("nan")))
    assert not decided(Interval(0.4, 0.6, 0.8))
    assert decided(Interval(0.51, 0.6, 0.8))


def test_aggregates_show_what_the_board_has_and_controls_beyond_stand_at_the_edge(reports: dict[str, Report]) -> None:
    report = reports["text"]
    found = report.aggregates()[0]
    figure = drawn("aggregates", report, None)
    for panel, measure in zip(figure.axes, ("iqm", "mean", "gap"), strict=True):
        points = [float(line.get_xdata()[0]) for line in panel.lines]
        rivals = [row for row in found.rows if not row.control]
        assert points == pytest.approx([getattr(row, measure).value for row in rivals])
        edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in panel.patches]
        assert edges == [pytest.approx((getattr(row, measure).low, getattr(row, measure).high)) for row in rivals]
        control = next(row for row in found.rows if row.control)
        assert any(f"{getattr(control, measure).value:.2f}" in text.get_text() for text in panel.texts)


def test_a_profile_falls_from_all_runs_to_none(reports: dict[str, Report]) -> None:
    report = reports["one_seed"]
    panel = drawn("performance_profiles", report, None).axes[0]
    for label, line in labelled(panel).items():
        (score,) = report.scores(report.boards[0])[label]
        expected = (line.get_xdata() < score).astype(float)
        assert line.get_ydata().tolist() == expected.tolist()


def test_a_steady_run_never_falls(tmp_path: Path) -> None:
    for seed in range(3):
        boards.finished(tmp_path, boards.spec("grpo", seed), [0.1, 0.5, 0.8])
        boards.finished(tmp_path, boards.spec("ppo", seed), [0.1, 0.9, 0.6])
    report = Report.read(tmp_path)
    panel = drawn("stability_against_score", report, report.boards[0]).axes[0]
    points = [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in panel.lines if line.get_linestyle() == "None"]
    assert points == [pytest.approx((0.8, 0.0)), pytest.approx((0.6, 0.3))]


def test_items_are_the_problems_in_order_of_ease(tmp_path: Path) -> None:
    boards.finished(tmp_path, boards.spec("grpo", 0), items=[[0, 0, 0], [0.5, 1.0, 0.0]])
    boards.finished(tmp_path, boards.spec("grpo", 1), items=[[0, 0, 0], [1.0, 1.0, 0.0]])
    boards.finished(tmp_path, boards.spec("ppo", 0), items=[[0, 0, 0], [0.0, 1.0, 0.5]])
    boards.finished(tmp_path, boards.spec("sapo", 0), items=[[0, 0, 0], [1.0, 1.0, 1.0]], key="others")
    report = Report.read(tmp_path)
    panel = drawn("items", report, report.boards[0]).axes[0]
    opacity = numpy.asarray(panel.images[0].get_array())[..., 3]
    assert opacity.tolist() == [[1.0, 0.75, 0.0], [1.0, 0.0, 0.5]]  # grpo, ppo; the second problem is the easiest
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["grpo", "ppo"]


def test_weights_are_drawn_of_the_rules_that_have_runs(reports: dict[str, Report]) -> None:
    titles = {axis.get_title(loc="left") for axis in drawn("effective_weight", reports["text"], None).axes}
    assert titles == {"ppo, grpo", "sapo"}
    assert len(drawn("effective_weight", Report(()), None).axes) == 9


@pytest.mark.parametrize("name", ["learning_curves", "effective_weight", "probability_of_improvement"])
def test_the_same_numbers_give_the_same_bytes(reports: dict[str, Report], name: str) -> None:
    """And pictures drawn before leave no trace in them."""
    known = reports["text"]
    for form in theme.FORMATS:
        made = []
        for report in (known, replace(known, memory={})):
            board = report.boards[0] if name in PER_BOARD else None
            made.append(theme.image(drawn(name, report, board), name, form))
        assert made[0] == made[1]


def test_an_svg_follows_the_page_and_keeps_to_itself(reports: dict[str, Report]) -> None:
    figure = drawn("learning_curves", reports["text"], reports["text"].boards[0])
    inside, alone = theme.svg(figure, "a b"), theme.svg(figure, "a b", alone=True)
    assert theme.INK not in inside
    assert "currentColor" in inside
    assert "<style>svg{color" not in inside  # it would color the page
    assert "<style>svg{color" in alone
    assert not re.search(r"http(?!://www\.w3\.org)", inside)
    names = set(re.findall(r'\bid="([^"]+)"', inside))
    assert names
    assert all(name.startswith("a-b-") for name in names)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', inside)) <= names
    assert not re.search(r"#(?:fff|FFF|ffffff)\b", inside.replace("var(--paper, #fff)", ""))  # no white ground


def test_names_keep_apart_and_near_their_curves() -> None:
    wanted = numpy.array([0.5, 0.51, 0.52, 0.9, 0.0])
    found = spread(wanted, 0.1)
    assert numpy.diff(numpy.sort(found)).min() >= 0.1 - 1e-12
    assert (numpy.argsort(found) == numpy.argsort(wanted)).all()
    assert found[:3] == pytest.approx([0.41, 0.51, 0.61])  # the least squares
    assert found[3:] == pytest.approx([0.9, 0.0])
    crowd = spread(numpy.full(11, 1.0), 0.1)
    assert (crowd.min(), crowd.max()) == pytest.approx((0.0, 1.0))


def drawn(name: str, report: Report, board: Any, axis: str = "samples") -> Figure:
    figure = figures.load(name).draw(report, board, axis)
    assert figure is not None
    return figure


def labelled(panel: Axes) -> dict[str, Any]:
    return {str(line.get_label()): line for line in panel.lines if not str(line.get_label()).startswith("_")}
