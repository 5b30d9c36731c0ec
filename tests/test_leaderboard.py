"""Ranks that claim what the runs tell, ties as ties, and every fault of a run said beside the board."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import pytest
from boards import board, finished, many, spec
from scipy.stats import ttest_ind

from bench import trials
from bench.board import facts, markdown, words
from bench.board.aggregates import aggregates
from bench.board.groups import boards
from bench.board.leaderboard import ALPHA, Table, groups, leaderboard
from bench.board.publishing import tables
from bench.board.scores import scores

NEITHER = "there is no width to see"


def table(root: Path) -> Table:
    (found,) = boards(trials.read(root, facts.columns()))
    return leaderboard(found)


def seeds(root: Path, algorithm: str, finals: Sequence[float], task: str = "last_digit", tier: str = "tiny") -> None:
    """Runs of an older version, which kept no item scores, that end at these scores."""
    for seed, final in enumerate(finals):
        finished(root, spec(algorithm, seed, task, tier=tier), [0.1, final])


def said(table: Table) -> str:
    return "\n".join(words.below(table))


def test_ranks_follow_welch_and_holm_where_only_seeds_are_known(tmp_path: Path) -> None:
    """Of three pairs, a and b are a tie at any correction; c loses to both by p values that this test computes with scipy."""
    finals = {"a2c": [0.70, 0.72, 0.74, 0.76, 0.78], "grpo": [0.69, 0.73, 0.74, 0.75, 0.77], "ppo": [0.40, 0.44, 0.45, 0.47, 0.50]}
    for algorithm, each in finals.items():
        seeds(tmp_path, algorithm, each)
    found = table(tmp_path)
    assert [(row.label, str(row.rank), row.ties) for row in found.rows] == [
        ("a2c", "1-2", ("grpo",)),
        ("grpo", "1-2", ("a2c",)),
        ("ppo", "3", ()),
    ]
    p = {(t.first, t.second): ttest_ind(finals[t.first], finals[t.second], equal_var=False).pvalue for t in found.tests}
    assert {(t.first, t.second): t.pair.p for t in found.tests} == pytest.approx(p)
    two = sorted([p["a2c", "ppo"], p["grpo", "ppo"]])
    holm = {("a2c", "grpo"): p["a2c", "grpo"]}
    holm |= {pair: 3 * two[0] if p[pair] == two[0] else max(3 * two[0], 2 * two[1]) for pair in (("a2c", "ppo"), ("grpo", "ppo"))}
    assert {(t.first, t.second): t.p for t in found.tests} == pytest.approx(holm)
    assert groups(found) == [("a2c", "grpo")]
    assert found.rows[0].score.value == pytest.approx(0.74) and found.rows[0].score.low < 0.74 < found.rows[0].score.high
    assert "intervals over seeds alone, not over held-out problems; a2c, grpo and ppo: seed 0 kept no item scores; 95 %, Holm" in said(
        found
    )
    assert "Ties, within which no entry can be told from another: a2c and grpo." in said(found)


def test_correction_for_many_pairs_takes_a_claim_back(tmp_path: Path) -> None:
    """p = 0.02 alone is significant, and is not among six pairs."""
    seeds(tmp_path, "a2c", [0.70, 0.72, 0.74, 0.76])
    seeds(tmp_path, "grpo", [0.65, 0.67, 0.69, 0.71])
    alone = table(tmp_path)
    assert 0.01 < alone.tests[0].p < ALPHA and [str(row.rank) for row in alone.rows] == ["1", "2"]
    seeds(tmp_path, "ppo", [0.1, 0.2, 0.3, 0.4])
    seeds(tmp_path, "sapo", [0.1, 0.2, 0.3, 0.4])
    ranks = {row.label: str(row.rank) for row in table(tmp_path).rows}
    assert (ranks["a2c"], ranks["grpo"]) == ("1-2", "1-2")


def test_a_tie_is_not_transitive(tmp_path: Path) -> None:
    """a beats c, and b can be told from neither."""
    seeds(tmp_path, "a2c", [0.70, 0.71, 0.72, 0.73, 0.74])
    seeds(tmp_path, "grpo", [0.50, 0.60, 0.66, 0.72, 0.82])
    seeds(tmp_path, "ppo", [0.60, 0.61, 0.62, 0.63, 0.64])
    found = table(tmp_path)
    assert {row.label: (str(row.rank), row.ties) for row in found.rows} == {
        "a2c": ("1-2", ("grpo",)),
        "grpo": ("1-3", ("a2c", "ppo")),
        "ppo": ("2-3", ("grpo",)),
    }
    assert groups(found) == [("a2c", "grpo"), ("grpo", "ppo")]


def test_items_are_paired_where_they_are_the_same(tmp_path: Path) -> None:
    """Seeds alone cannot tell them apart, but on each item one is a little better: pairing sees that."""
    ease = numpy.linspace(0.1, 0.9, 40)
    for seed, luck in enumerate([-0.004, 0.0, 0.004]):
        finished(tmp_path, spec("grpo", seed), items=[[0.5] * 40, (ease + luck + 0.03).tolist()])
        finished(tmp_path, spec("ppo", seed), items=[[0.5] * 40, (ease + luck).tolist()])
    found = table(tmp_path)
    assert found.items == 40 and [str(row.rank) for row in found.rows] == ["1", "2"]
    assert found.tests[0].pair.estimate.value == pytest.approx(0.03)
    assert found.tests[0].pair.estimate.error < found.rows[0].score.high - found.rows[0].score.value
    assert "intervals over seeds and 40 problems, paired by problem" in said(found)
    assert "No ties: every pair of ranked entries was told apart." in said(found)


def test_entries_asked_different_items_are_compared_by_seed(tmp_path: Path) -> None:
    for seed in range(3):
        finished(tmp_path, spec("grpo", seed), items=[[0.1, 0.2], [0.5, 0.6 + seed / 50]])
        finished(tmp_path, spec("ppo", seed), items=[[0.1, 0.2], [0.5, 0.6 + seed / 90]], key="other items")
        finished(tmp_path, spec("sapo", seed), items=[[0.1, 0.2], [0.4, 0.6 + seed / 70]])
    found = table(tmp_path)
    assert {(t.first, t.second): t.pair.items for t in found.tests} == {("grpo", "ppo"): 0, ("grpo", "sapo"): 2, ("ppo", "sapo"): 0}
    assert "paired, in two pairs over seeds alone; grpo with ppo and ppo with sapo: they were evaluated on different items; 95 %" in said(
        found
    )


def test_one_seed_has_a_score_and_no_interval_and_no_rank(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.7, "ppo": 0.4}, seeds=range(3))
    board(tmp_path, {"sapo": 0.9}, seeds=[0])
    found = table(tmp_path)
    assert [row.label for row in found.rows] == ["grpo", "ppo", "sapo"] and found.row("sapo").rank is None
    assert found.row("sapo").score.value > 0.8 and not found.row("sapo").score.known
    assert len(found.tests) == 1  # nothing is lost to a correction for pairs that cannot be tested
    assert "One seed, so no interval and no rank: sapo." in said(found) and "Unequal seeds: entries have from 1 to 3" in said(found)
    assert "(1 seed)" in words.score_of(found.row("sapo"))


def test_a_diverged_seed_counts_as_nothing_where_scores_have_a_scale(tmp_path: Path) -> None:
    for seed, end in enumerate(("finished", "finished", "diverged")):
        finished(tmp_path, spec("grpo", seed), items=[[0.5, 0.5], [0.6, 0.8]], end=end)
        finished(tmp_path, spec("ppo", seed), items=[[0.5, 0.5], [0.6, 0.8]])
    found = table(tmp_path)
    row = found.row("grpo")
    assert row.score.value == pytest.approx(2 / 3 * 0.7) and row.diverged == (2,)
    assert found.row("ppo").score.value == pytest.approx(0.7)
    assert found.items == 2
    assert words.seeds_of(row) == "3 (1 diverged)"
    assert "grpo: one seed of 3 left the finite numbers, counted as 0." in said(found)
    assert row.facts["area_under_curve"].seeds == 2


def test_a_diverged_seed_has_no_score_where_there_is_no_scale(tmp_path: Path) -> None:
    def run(algorithm: str, seed: int, end: str = "finished") -> None:
        returns = [-200.0, -90.0 - seed]
        finished(tmp_path, spec(algorithm, seed, "gym", tier="control"), returns, end=end, probes={"eval/return": returns})

    for seed in range(3):
        run("ppo", seed)
        run("a2c", seed)
        run("dqn", seed, "diverged" if seed == 1 else "finished")
    found = table(tmp_path)
    assert not found.board.scaled
    row = found.row("dqn")
    assert math.isnan(row.score.value) and row.rank is None and found.rows[-1] is row
    assert "dqn: one seed of 3 left the finite numbers, and without a scale no score can stand for that: no interval and no rank." in said(
        found
    )
    assert found.row("ppo").score.value == -91.0 and str(found.row("ppo").rank) == "1-2"
    assert "samples_to_threshold" not in row.facts  # half of what?


def test_constant_scores_are_told_apart_by_counting_seeds(tmp_path: Path) -> None:
    """Of 252 ways to deal ten seeds out to two rules, two are this extreme; of six ways for four seeds, two: no finding."""
    for algorithm, level in (("ppo", 1.0), ("a2c", 0.5)):
        seeds(tmp_path / "five", algorithm, [level] * 5)
        seeds(tmp_path / "two", algorithm, [level] * 2)
    five, two = table(tmp_path / "five"), table(tmp_path / "two")
    assert five.tests[0].p == pytest.approx(2 / 252) and [str(row.rank) for row in five.rows] == ["1", "2"]
    assert two.tests[0].p == pytest.approx(1 / 3) and [str(row.rank) for row in two.rows] == ["1-2", "1-2"]
    assert math.isnan(five.smallest) and NEITHER in said(five)


def test_what_does_not_count_is_said_with_its_reason(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.7, "ppo": 0.6}, seeds=range(3))
    finished(tmp_path, spec("grpo", 3), [0.1, 0.9], end="stopped")
    finished(tmp_path, spec("grpo", 4), [0.1, 0.9], end="memory")
    cut = finished(tmp_path, spec("ppo", 3), [0.1, 0.9, 0.9])
    lines = (cut / "curve.jsonl").read_text().splitlines(keepends=True)
    (cut / "curve.jsonl").write_text("".join(lines[:-1]))
    finished(tmp_path, spec("sapo", 0), [0.1], end="stopped")
    found = table(tmp_path)
    assert {row.label: row.seeds for row in found.rows} == {"grpo": (0, 1, 2), "ppo": (0, 1, 2)}
    assert found.empty == ("sapo",)
    text = said(found)
    assert "Left out: grpo, seed 3: stopped before its end." in text
    assert "Left out: grpo, seed 4: failed (memory): made up to have ended so: memory." in text
    assert f"Left out: ppo, run {cut.name}: broken: {cut / 'curve.jsonl'} has 4 of 5 records: it was cut" in text
    assert "Left out: sapo, seed 0: stopped before its end." in text


def test_a_run_met_twice_counts_once(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.7, "ppo": 0.6}, seeds=range(3))
    once = trials.read(tmp_path, facts.columns())
    (plain,), (doubled,) = boards(once), boards([*once, *once])
    assert markdown.markdown([leaderboard(plain)], []) == markdown.markdown([leaderboard(doubled)], [])


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        (lambda text: text[:-4] + "\n", "the item scores of seed 0 cannot be read"),
        (lambda text: text.replace('"scores":[0.5', '"scores":[0.25'), "the item scores of seed 0 do not add up to its score"),
        (lambda text: text.replace("items of a test", "others"), "the seeds were evaluated on different items"),
        (lambda text: text.splitlines(keepends=True)[0], "seed 0 kept no item scores"),
        (lambda text: "", "seed 0 kept no item scores"),
    ],
)
def test_items_that_cannot_be_used_say_why(change: Callable[[str], str], lacking: str, tmp_path: Path) -> None:
    folders = [finished(tmp_path, spec("grpo", seed), items=[[0.1, 0.2], [0.5, 0.75]]) for seed in range(2)]
    path = folders[0] / "items.jsonl"
    before = path.read_text()
    path.write_text(change(before))
    (found,) = boards(trials.read(tmp_path))
    held = scores(found.entries[0], found.scaled)
    assert (held.items, held.lacking) == (None, lacking) and held.values.tolist() == [0.625, 0.625]
    path.write_text(before)
    held = scores(found.entries[0], found.scaled)
    assert held.items is not None and held.items.tolist() == [[0.5, 0.75], [0.5, 0.75]] and held.lacking == ""


def test_controls_are_marked(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.7, "untrained": 0.3, "shuffled_advantage": 0.2}, seeds=range(2))
    found = table(tmp_path)
    assert {row.label: row.control for row in found.rows} == {"grpo": False, "untrained": True, "shuffled_advantage": True}
    text = markdown.markdown([found], [])
    assert "| `untrained` (control) |" in text and "| `grpo` |" in text


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    board(tmp_path / "a", {"ppo": 0.7, "grpo": 0.68, "untrained": 0.3}, tasks=("last_digit", "countdown"))
    board(tmp_path / "b", {"untrained": 0.3, "grpo": 0.68, "ppo": 0.7}, seeds=[4, 2, 0, 1, 3], tasks=("countdown", "last_digit"))
    one, other = tables(tmp_path / "a"), tables(tmp_path / "b")
    assert markdown.markdown(*one) == markdown.markdown(*other)
    assert markdown.as_json(*one) == markdown.as_json(*other)
    assert markdown.as_csv(one[0]) == markdown.as_csv(other[0])


def test_markdown_by_hand(tmp_path: Path) -> None:
    """Two seeds at 0.4 and 0.6: mean 0.5, deviation 0.1414, error 0.1, t quantile 12.706. On the log-odds scale 1.2706 / 0.25 is 5.082 to
    either side of 0: bounds 0.006 and 0.994."""
    seeds(tmp_path, "grpo", [0.4, 0.6])
    text = markdown.markdown([table(tmp_path)], [])
    digits = table(tmp_path).rows[0].hash
    assert text == "\n".join(
        [
            "**last_digit-tiny: 1,000 samples, score of the last held-out evaluation (0 to 1)**",
            "",
            "| rank | algorithm | score [95 %] | seeds | area under curve | to 0.5 | drawdown | entropy floor | CPU-seconds | runs |",
            "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            f"|  | `grpo` | 0.500 [0.006, 0.994] | 2 | 0.300 | 1,000 (1 of 2) | 0.000 | 0.500 | 2.500 | `{digits}` |",
            "",
            "- No ranks: it takes two entries with two seeds or more.",
            "",
        ]
    )


def test_json_and_csv_hold_what_is_known(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.7, "ppo": 0.4}, seeds=range(3))
    board(tmp_path, {"sapo": 0.5}, seeds=[0])
    found, together = tables(tmp_path)
    held = json.loads(markdown.as_json(found, together))
    rows = {row["label"]: row for row in held["boards"][0]["rows"]}
    assert (rows["grpo"]["rank"], rows["grpo"]["rank_high"], rows["grpo"]["seeds"]) == (1, 1, [0, 1, 2])
    assert rows["sapo"]["rank"] is None and rows["sapo"]["score"]["low"] is None and "one seed" in rows["sapo"]["score"]["note"]
    assert rows["grpo"]["metrics"]["tokens"] == {"mean": 20000.0, "seeds": 3}
    (test,) = held["boards"][0]["tests"]
    assert test["difference"]["value"] == pytest.approx(rows["grpo"]["score"]["value"] - rows["ppo"]["score"]["value"])
    lines = markdown.as_csv(found).splitlines()
    assert lines[0].startswith("board,rank_low,rank_high,label,control,score,low,high,seeds,diverged,area_under_curve,")
    assert len(lines) == 4 and lines[3].startswith("last_digit-tiny,,,sapo,0,0.") and ",,,1,0," in lines[3]


def test_an_aggregate_holds_those_that_have_runs_everywhere(tmp_path: Path) -> None:
    for task, shift in (("last_digit", 0.0), ("countdown", 0.2)):
        seeds(tmp_path, "grpo", [0.1 + shift, 0.2 + shift, 0.3 + shift, 0.4 + shift], task)
        seeds(tmp_path, "ppo", [0.5 + shift, 0.6 + shift, 0.6 + shift, 0.7 + shift], task)
    seeds(tmp_path, "sapo", [0.5, 0.6], "countdown")
    seeds(tmp_path, "sapo", [0.5], "last_digit")
    seeds(tmp_path, "grpo", [0.5, 0.6], "chain_sum")
    (one,) = aggregates(boards(trials.read(tmp_path)))
    assert (one.kind, one.boards, [row.label for row in one.rows]) == (
        "text, tiny tier",
        ("countdown-tiny", "last_digit-tiny"),
        ["ppo", "grpo"],
    )
    assert one.left_out == ("chain_sum-tiny: too few algorithms have runs there", "sapo: fewer than two seeds on last_digit-tiny")
    ppo, grpo = one.rows
    assert grpo.runs == 8 and grpo.mean.value == pytest.approx(0.35) and grpo.gap.value == pytest.approx(0.65)
    assert grpo.iqm.value == pytest.approx((0.3 + 0.3 + 0.4 + 0.4) / 4)  # of 0.1 0.2 0.3 0.3 0.4 0.4 0.5 0.6
    assert ppo.iqm.low < ppo.iqm.value < ppo.iqm.high and grpo.iqm.low >= 0


def test_an_aggregate_of_returns_may_leave_the_scale(tmp_path: Path) -> None:
    """Below random actions, and above what is known to be reached."""
    for task, finals in (("cartpole", [1.0, 1.1, 1.2]), ("pendulum", [-0.3, -0.2, -0.4])):
        seeds(tmp_path, "ppo", finals, task, tier="control")
        seeds(tmp_path, "a2c", [final / 2 for final in finals], task, tier="control")
    (one,) = aggregates(boards(trials.read(tmp_path)))
    assert (one.kind, one.boards) == ("Gymnasium", ("cartpole", "pendulum"))
    ppo = next(row for row in one.rows if row.label == "ppo")
    assert ppo.mean.value == pytest.approx(0.4) and ppo.gap.value == pytest.approx((0.0 + 1.3) / 2) and ppo.gap.known


def test_an_aggregate_takes_one_protocol_of_a_task_and_no_scores_without_a_scale(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.7, "ppo": 0.5}, tasks=("last_digit", "countdown"))
    board(tmp_path, {"grpo": 0.7, "ppo": 0.5}, seeds=range(2), budget=500)
    for task in ("one", "two"):
        for algorithm in ("a2c", "ppo"):
            for seed in range(2):
                scores_ = [-5.0, -4.0 + seed]
                finished(tmp_path, spec(algorithm, seed, task, tier="control"), scores_, probes={"eval/return": scores_})
    (one,) = aggregates(boards(trials.read(tmp_path)))
    assert one.boards == ("countdown-tiny", "last_digit-tiny (budget 1000)")
    assert one.left_out == ("last_digit-tiny (budget 500): last_digit-tiny (budget 1000) has more runs, and a task counts once",)


def test_hundreds_of_seeds_are_no_trouble(tmp_path: Path) -> None:
    many(tmp_path, ("grpo", "ppo", "sapo"), range(60), records=40)
    found = table(tmp_path)
    assert [len(row.seeds) for row in found.rows] == [60] * 3
    assert 0 < found.smallest < 0.1


def test_a_table_on_which_nothing_counts_yet_still_tells_why(tmp_path: Path) -> None:
    finished(tmp_path, spec("grpo", 0), [0.1], end="stopped")
    broken = tmp_path / "countdown-tiny" / "grpo" / "0123456789ab"
    broken.mkdir(parents=True)
    found, together = tables(tmp_path)
    text = markdown.markdown(found, together)
    assert together == [] and [one.rows for one in found] == [(), ()]
    assert "Left out: grpo, run 0123456789ab: broken: " in text and "Left out: grpo, seed 0: stopped before its end." in text
    assert "|" not in text and [len(held["rows"]) for held in json.loads(markdown.as_json(found, together))["boards"]] == [0, 0]


def test_scores_that_should_not_be_do_not_stop_the_board(tmp_path: Path) -> None:
    """A share above 1, a run that was never evaluated, and an evaluation of one item."""
    board(tmp_path, {"grpo": 0.7, "ppo": 0.4}, seeds=range(2))
    seeds(tmp_path, "a2c", [1.5, 1.7])
    for seed in range(2):
        finished(tmp_path, spec("dapo", seed), [math.nan])
        finished(tmp_path, spec("sapo", seed), items=[[0.1], [0.3 + seed / 10]])
    found = table(tmp_path)
    assert found.row("a2c").score.value == pytest.approx(1.6) and found.row("a2c").score.known
    assert found.row("dapo").rank is None and "dapo: a seed was never evaluated on held-out problems." in said(found)
    assert found.row("sapo").score.known and found.row("sapo").rank is not None
    assert "a2c: seed 0 kept no item scores" in said(found) and "sapo: a single item says nothing of others" in said(found)
