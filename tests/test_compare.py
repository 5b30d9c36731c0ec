"""`bench compare`: who is better, or what a tie means, in a sentence that the numbers carry; and the leaderboard as commands give it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy
import pytest
from boards import board, finished, spec
from scipy.stats import ttest_ind
from test_cli import run

from bench import trials
from bench.board import comparing, facts
from bench.board.comparing import Comparison, compare
from bench.board.groups import boards
from bench.board.verdicts import evidence, over, verdict
from bench.errors import ConfigError
from bench.stats.power import power


def compared(root: Path, first: str, second: str, table: str = "", metric: str = "eval_score") -> list[Comparison]:
    columns = {*facts.columns(), *comparing.columns(metric)}
    return compare(boards(trials.read(root, columns)), first, second, table, metric)


def seeds(root: Path, algorithm: str, finals: Sequence[float], task: str = "last_digit", end: str = "finished") -> None:
    for seed, final in enumerate(finals):
        finished(root, spec(algorithm, seed, task), [0.1, final], end=end if seed == 0 else "finished")


def test_the_better_one_is_named_whatever_the_order(tmp_path: Path) -> None:
    for seed in range(5):
        finished(tmp_path, spec("grpo", seed), items=[[0.1] * 8, [0.5, 0.6, 0.7, 0.8, 0.5, 0.6, 0.7, 0.8 + seed / 100]])
        finished(tmp_path, spec("dapo", seed), items=[[0.1] * 8, [0.4, 0.5, 0.6, 0.7, 0.4, 0.5, 0.6, 0.7 - seed / 100]])
    (one,), (other,) = compared(tmp_path, "grpo", "dapo"), compared(tmp_path, "dapo", "grpo")
    assert one.decided and other.decided and one.pair.items == 8
    held = one.pair.estimate.interval()
    assert verdict(one) == verdict(other)
    assert (
        verdict(one)
        == f"grpo is better than dapo on last_digit-tiny by 0.105 [{held.low:.3f}, {held.high:.3f}]: five seeds, eight problems"
    )
    assert other.pair.estimate.value == pytest.approx(-one.pair.estimate.value)
    assert over([one]) == ""


def test_a_tie_says_what_could_have_been_seen(tmp_path: Path) -> None:
    """The power at the smallest difference, and at the seeds that are needed, is computed once more here."""
    first, second = [0.60, 0.62, 0.64, 0.66, 0.68], [0.59, 0.62, 0.63, 0.65, 0.69]
    seeds(tmp_path, "grpo", first)
    seeds(tmp_path, "dapo", second)
    (one,) = compared(tmp_path, "grpo", "dapo")
    assert one.p == pytest.approx(ttest_ind(first, second, equal_var=False).pvalue) and not one.decided
    estimate = one.pair.estimate
    assert power(one.smallest, estimate.error, estimate.freedom) == pytest.approx(0.8, abs=1e-6)
    variance = numpy.var(first, ddof=1) + numpy.var(second, ddof=1)
    assert one.needed is not None
    for count, enough in ((one.needed, True), (one.needed - 1, False)):
        assert (power(0.004, math.sqrt(variance / count), 2 * (count - 1)) >= 0.8) is enough
    low, high = estimate.interval().low, estimate.interval().high
    told = f"a tie on last_digit-tiny: the difference is 0.004 [{low:.3f}, {high:.3f}]; this data would have shown {one.smallest:.3f}; "
    assert (
        verdict(one)
        == f"{told}about {one.needed:,} seeds would be needed to show 0.004 (five seeds, by seed alone (seed 0 kept no item scores))"
    )


def test_where_more_seeds_would_not_help_it_says_so(tmp_path: Path) -> None:
    """Every seed answers alike, and the items differ wildly between the two."""
    for seed in range(3):
        finished(tmp_path, spec("grpo", seed), items=[[0, 0, 0, 0], [1.0, 0.0, 1.0, 0.125 + seed / 1000]])
        finished(tmp_path, spec("dapo", seed), items=[[0, 0, 0, 0], [0.0, 1.0, 0.0, 1.0 - seed / 1000]])
    (one,) = compared(tmp_path, "grpo", "dapo")
    assert one.needed is None and "no number of seeds would show" in verdict(one) and "it takes more problems" in verdict(one)


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    seeds(tmp_path, "grpo", [0.9, 0.9, 0.8])
    seeds(tmp_path, "dapo", [0.2])
    (one,) = compared(tmp_path, "grpo", "dapo")
    assert not one.decided and one.needed is None and math.isnan(one.smallest)
    told = "undecided on last_digit-tiny: one seed: how much another would differ is unknown; the difference is 0.667"
    assert verdict(one).startswith(told)
    assert evidence(one).startswith("three seeds of grpo, one seed of dapo, by seed alone")


def test_equal_constants_are_a_tie_of_which_no_power_is_claimed(tmp_path: Path) -> None:
    for algorithm in ("grpo", "dapo"):
        seeds(tmp_path, algorithm, [1.0, 1.0, 1.0])
    (one,) = compared(tmp_path, "grpo", "dapo")
    assert one.p == 1 and "would have shown" not in verdict(one) and "would be needed" not in verdict(one)
    assert "all seeds scored the same" in verdict(one)


def test_a_metric_of_which_less_is_better(tmp_path: Path) -> None:
    for seed in range(4):
        finished(tmp_path, spec("grpo", seed), [0.1, 0.6, 0.6 - seed / 100])  # falls by up to 0.03
        finished(tmp_path, spec("dapo", seed), [0.1, 0.6, 0.3 - seed / 100])  # by 0.3 and more
    (one,) = compared(tmp_path, "dapo", "grpo", metric="maximum_drawdown")
    assert one.lower and one.pair.estimate.value == pytest.approx(0.3)
    assert verdict(one).startswith("grpo is better than dapo on last_digit-tiny in maximum_drawdown by 0.300 [")
    assert verdict(one).endswith(": four seeds")
    assert one.improvement is not None and one.improvement.value == 0.0
    (other,) = compared(tmp_path, "grpo", "dapo", metric="maximum_drawdown")
    assert other.improvement is not None and other.improvement.value == 1.0


def test_a_metric_that_some_seeds_lack_decides_nothing(tmp_path: Path) -> None:
    seeds(tmp_path, "grpo", [0.6, 0.6, 0.2])  # the last never reaches one half
    seeds(tmp_path, "dapo", [0.6, 0.7, 0.8])
    (one,) = compared(tmp_path, "grpo", "dapo", metric="samples_to_threshold")
    assert verdict(one) == "undecided on last_digit-tiny in samples_to_threshold: some seeds have no samples_to_threshold (three seeds)"
    assert one.improvement is None
    seeds(tmp_path / "fallen", "grpo", [0.6, 0.6, 0.7], end="diverged")
    seeds(tmp_path / "fallen", "dapo", [0.6, 0.7, 0.8])
    (fallen,) = compared(tmp_path / "fallen", "grpo", "dapo", metric="area_under_curve")
    assert "some seeds have no area_under_curve" in verdict(fallen)
    (scored,) = compared(tmp_path / "fallen", "grpo", "dapo")
    assert scored.scores[0].values.tolist() == [0.0, 0.6, 0.7]
    assert "grpo: one seed left the finite numbers, counted as 0" in verdict(scored)


def test_several_tables_are_corrected_for_and_put_together(tmp_path: Path) -> None:
    first, second = [0.70, 0.72, 0.74, 0.76], [0.65, 0.67, 0.69, 0.71]
    p = ttest_ind(first, second, equal_var=False).pvalue
    assert 0.01 < p < 0.05
    for task in ("last_digit", "countdown"):
        seeds(tmp_path, "grpo", first if task == "last_digit" else second, task)
        seeds(tmp_path, "dapo", second, task)
    both, (alone,) = compared(tmp_path, "grpo", "dapo"), compared(tmp_path, "grpo", "dapo", table="last_digit-tiny")
    assert [one.board.name for one in both] == ["countdown-tiny", "last_digit-tiny"] and [one.tables for one in both] == [2, 2]
    assert alone.p == pytest.approx(p) and both[1].p == pytest.approx(2 * p) and alone.smallest < both[1].smallest
    assert over(both).startswith("Over two tables: a run of grpo beats one of dapo with probability 0.")
    wins = (sum(a > b for a in first for b in second) + sum(a == b for a in first for b in second) / 2) / 16
    found = comparing.improved(both)
    assert found is not None and found.value == pytest.approx((wins + 0.5) / 2)


def test_a_claim_that_holds_alone_but_not_among_tables_is_called_so(tmp_path: Path) -> None:
    for task in ("last_digit", "countdown", "chain_sum", "gsm8k"):
        seeds(tmp_path, "grpo", [0.70, 0.72, 0.74, 0.76] if task == "last_digit" else [0.5, 0.6, 0.7, 0.8], task)
        seeds(tmp_path, "dapo", [0.65, 0.67, 0.69, 0.71] if task == "last_digit" else [0.5, 0.6, 0.7, 0.8], task)
    (one,) = [one for one in compared(tmp_path, "grpo", "dapo") if one.board.table == "last_digit-tiny"]
    assert one.p > 0.05 > one.pair.p
    assert f"which would be one alone (p = {one.pair.p:.3f}), but not among four tables (p = {one.p:.3f})" in verdict(one)


def test_what_cannot_be_compared_says_what_can(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.7, "dapo": 0.5}, seeds=range(2))
    board(tmp_path, {"ppo": 0.7}, seeds=range(2), tasks=("countdown",))
    finished(tmp_path, spec("sapo", 0), [0.1], end="stopped")
    for arguments, message in (
        (("grp", "dapo"), "no label called 'grp'. Did you mean 'grpo'? Known: dapo, grpo, ppo, sapo"),
        (("grpo", "dapo", "countdown-tiny"), "no label on countdown-tiny called 'grpo'. Did you mean 'ppo'? Known: ppo"),
        (("grpo", "dapo", "countdwn-tiny"), "no table called 'countdwn-tiny'. Did you mean 'countdown-tiny'?"),
        (("grpo", "grpo"), "grpo is compared with itself"),
        (("grpo", "ppo"), "are on no board together with finished runs: grpo on last_digit-tiny; ppo on countdown-tiny"),
        (("grpo", "sapo"), "are on no board together with finished runs"),
        (("grpo", "dapo", "", "entropy"), "no metric of a run called 'entropy'"),
        (("grpo", "dapo", "", "divergence_rate"), "no metric of a run called 'divergence_rate'"),
    ):
        with pytest.raises(ConfigError) as caught:
            compared(tmp_path, *arguments)
        assert message in str(caught.value)


def test_variants_of_one_algorithm_are_compared_by_their_labels(tmp_path: Path) -> None:
    for seed in range(3):
        finished(tmp_path, spec("grpo", seed, clip_high=0.2), [0.1, 0.5 + seed / 100])
        finished(tmp_path, spec("grpo", seed, clip_high=0.28), [0.1, 0.9 + seed / 100])
    (one,) = compared(tmp_path, "grpo clip_high=0.28", "grpo clip_high=0.2")
    assert verdict(one).startswith("grpo clip_high=0.28 is better than grpo clip_high=0.2 on last_digit-tiny by 0.400 [")
    with pytest.raises(ConfigError, match=r"Known: grpo clip_high=0\.2, grpo clip_high=0\.28"):
        compared(tmp_path, "grpo", "grpo clip_high=0.2")


def test_the_command_shows_the_sentence_and_the_numbers(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.8, "dapo": 0.4})
    shown = run("compare", "grpo", "dapo", "--results", str(tmp_path))
    assert shown.exit_code == 0, shown.output
    flat = " ".join(shown.output.split())
    assert "grpo is better than dapo on last_digit-tiny by 0." in flat and "five seeds, 64 problems." in flat
    assert "Descriptive: means over seeds, no test" in flat and "entropy_floor" in flat
    held = json.loads(run("compare", "grpo", "dapo", "--results", str(tmp_path), "--json").output)
    assert held["decided"] and held["items"] == 64 and held["difference"]["low"] > 0 and held["probability_of_improvement"]["value"] == 1.0
    assert isinstance(run("compare", "grpo", "dpo", "--results", str(tmp_path)).exception, ConfigError)


def test_the_leaderboard_command_in_every_form(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.8, "dapo": 0.4}, tasks=("last_digit", "countdown"))
    plain = run("leaderboard", "--results", str(tmp_path))
    assert plain.exit_code == 0, plain.output
    assert "last_digit-tiny: 1,000 samples" in plain.output and "All of text, tiny tier" in plain.output
    text = run("leaderboard", "--results", str(tmp_path), "--markdown").output
    assert text.startswith("**countdown-tiny: 1,000 samples") and "**All of text, tiny tier**" in text
    one = run("leaderboard", "--results", str(tmp_path), "--table", "last_digit-tiny", "--json").output
    assert [held["board"] for held in json.loads(one)["boards"]] == ["last_digit-tiny"] and json.loads(one)["aggregates"] == []
    assert run("leaderboard", "--results", str(tmp_path), "--csv").output.count("\n") == 5
    for arguments, says in (
        (["--markdown", "--csv"], "exclude each other"),
        (["--check"], "give it by --readme"),
        (["--table", "last_digit"], "no table called 'last_digit'. Did you mean 'last_digit-tiny'?"),
    ):
        assert says in str(run("leaderboard", "--results", str(tmp_path), *arguments).exception)
    assert "no runs in" in str(run("leaderboard", "--results", str(tmp_path / "none")).exception)


def test_a_document_holds_the_leaderboard_and_a_check_finds_where_it_does_not(tmp_path: Path) -> None:
    board(tmp_path / "runs", {"grpo": 0.8, "dapo": 0.4}, seeds=range(2))
    document = tmp_path / "README.md"
    document.write_text("# Title\n\n<!-- leaderboard -->\nold\n<!-- /leaderboard -->\n\nThe rest.\n")
    into = ["leaderboard", "--results", str(tmp_path / "runs"), "--readme", str(document)]
    failed = run(*into, "--check")
    assert failed.exit_code == 1 and "old" in document.read_text()
    assert run(*into).exit_code == 0
    text = run("leaderboard", "--results", str(tmp_path / "runs"), "--markdown").output
    assert document.read_text() == f"# Title\n\n<!-- leaderboard -->\n{text}<!-- /leaderboard -->\n\nThe rest.\n"
    assert run(*into, "--check").exit_code == 0
    board(tmp_path / "runs", {"grpo": 0.8}, seeds=[2])
    assert run(*into, "--check").exit_code == 1
    document.write_text("no markers")
    assert "there is no <!-- leaderboard -->" in str(run(*into).exception)
    assert "cannot be read" in str(run("leaderboard", "--results", str(tmp_path / "runs"), "--readme", str(tmp_path / "none")).exception)


def test_a_written_leaderboard_is_what_verify_holds_the_files_against(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.8, "dapo": 0.4}, seeds=range(2))
    assert run("leaderboard", "--results", str(tmp_path), "--write", str(tmp_path)).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"last_digit-tiny", "leaderboard.md", "leaderboard.json", "leaderboard.csv"}
    before = json.loads((tmp_path / "leaderboard.json").read_text())["boards"][0]["rows"][0]
    board(tmp_path, {"grpo": 0.8}, seeds=[2])
    changed = run("verify", before["hash"], "--results", str(tmp_path))
    assert f"row last_digit-tiny/grpo was recorded with the hash {before['hash']}, and its 3 runs now have" in str(changed.exception)


def test_pack_is_a_command(tmp_path: Path) -> None:
    board(tmp_path / "runs", {"grpo": 0.8}, seeds=range(2))
    finished(tmp_path / "runs", spec("grpo", 2), [0.1], end="stopped")
    done = run("pack", str(tmp_path / "packed"), "--results", str(tmp_path / "runs"))
    assert done.exit_code == 0, done.output
    assert "2 runs in" in done.output and "2 of them new" in done.output and "left out: last_digit-tiny, grpo, run" in done.output
    again = json.loads(run("pack", str(tmp_path / "packed"), "--results", str(tmp_path / "runs"), "--json").output)
    assert (again["new"], again["there"], len(again["left_out"])) == (0, 2, 1)
    raw, packed = (run("leaderboard", "--results", str(tmp_path / name), "--csv").output for name in ("runs", "packed"))
    assert raw == packed
