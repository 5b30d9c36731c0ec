"""The report's folder: the same runs give the same bytes, nothing is dropped in silence, and text that runs left stays text."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from boards import board, finished, many, spec
from typer.testing import CliRunner

from bench import registry, trials
from bench.cli import app
from bench.errors import BenchError, ConfigError, MissingError
from bench.report import measured, tables
from bench.report.data import Report
from bench.report.page import completions, curves, left_out, metrics, payload, standings
from bench.report.page.document import fill
from bench.report.page.elements import element, visible
from bench.report.page.entries import flat
from bench.report.page.runs import machine, ranges
from bench.report.page.spread import spread
from bench.report.page.write import write

HOSTILE = "</script><img src=x onerror=alert(1)>"


def no_command(spec: Mapping[str, Any], run_id: str) -> str:
    raise ConfigError(f"run {run_id} is made up")


def read(root: Path) -> Report:
    return Report.of(trials.read(root, metrics=measured.for_runs()))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    board(tmp_path / "runs", {"grpo": 0.7, "ppo": 0.5}, seeds=range(3), items=8)
    first, second = (write(tmp_path / "runs", tmp_path / name, no_command) for name in ("a", "b"))
    assert [path.relative_to(tmp_path / "a") for path in first] == [path.relative_to(tmp_path / "b") for path in second]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(first, second, strict=True))


def test_the_command_writes_page_pictures_and_tables(tmp_path: Path) -> None:
    board(tmp_path / "runs", {"grpo": 0.7, "ppo": 0.5}, seeds=range(2), items=8)
    done = CliRunner().invoke(app, ["report", "--results", str(tmp_path / "runs"), "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "out" / "index.html") in done.output
    there = {path.name for path in (tmp_path / "out").iterdir()}
    assert there == {"index.html", "leaderboard.md", "leaderboard.csv", "metrics.csv", "runs.csv", "curves.csv", "pictures"}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "bench run --algo" not in page  # these runs cannot be repeated, and the page says why
    assert re.search(r"run \w+ cannot be repeated", page)
    assert page.count("http://") == page.count("http://www.w3.org/") and "https://" not in page.replace(
        "https://github.com/leeoniya/uPlot", ""
    )


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no runs in"):
        write(tmp_path, tmp_path / "out", no_command)
    finished(tmp_path, spec("grpo", 0), [0.1, 0.2])
    with pytest.raises(ConfigError, match=r"no table called 'last_digits'\. Did you mean 'last_digit-tiny'"):
        write(tmp_path, tmp_path / "out", no_command, ["last_digits"])


def test_one_table_of_several(tmp_path: Path) -> None:
    board(tmp_path / "runs", {"grpo": 0.7, "ppo": 0.5}, seeds=range(2), items=8, tasks=("last_digit", "gsm8k"))
    page = write(tmp_path / "runs", tmp_path / "out", no_command, ["gsm8k-tiny"])[0].read_text()
    assert "gsm8k-tiny" in page and "last_digit" not in page


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    finished(tmp_path / "runs", spec("grpo", 0), [0.1, 0.2])
    (tmp_path / "out").write_text("a file")
    with pytest.raises(BenchError, match="cannot write"):
        write(tmp_path / "runs", tmp_path / "out", no_command)


def test_every_state_is_told(tmp_path: Path) -> None:
    """Nothing lost, nothing counted twice, each said."""
    for seed in range(2):
        finished(tmp_path, spec("grpo", seed), items=[[0, 1], [1, 1]])
    finished(tmp_path, spec("grpo", 2), [0.2, 0.4], end="stopped")
    finished(tmp_path, spec("grpo", 3), [0.2, 0.4], end="diverged")
    finished(tmp_path, spec("ppo", 0), [0.2, 0.4], end="memory")
    cut = finished(tmp_path, spec("ppo", 1), [0.2, 0.4])
    (cut / "curve.jsonl").write_text("".join((cut / "curve.jsonl").read_text().splitlines(keepends=True)[:-1]))
    torn = finished(tmp_path, spec("ppo", 2), [0.2, 0.4])
    (torn / "spec.json").write_text('{"spec": ')
    finished(tmp_path, spec("dapo", 0), [0.3, 0.6])
    found = trials.read(tmp_path)
    report = Report.of(found)
    said = {(remark.who.split(",")[0], remark.counted): remark.what for remark in left_out.remarks(report, found)}
    assert "stopped before its budget was spent" in said["grpo", "not counted"]
    assert "diverged at 100% of its budget: made up" in said["grpo", "scored 0 at its end"]
    assert {remark.what for remark in left_out.remarks(report, found) if "run" in remark.who and remark.who.startswith("ppo")} >= {
        "failed for a reason outside the algorithm: made up to have ended so: memory (100% of its budget)"
    }
    broken = [
        remark for remark in left_out.remarks(report, found) if "it was cut" in remark.what or "spec.json cannot be read" in remark.what
    ]
    assert len(broken) == 2
    assert said["dapo", "counted, without an interval over seeds"] == "one seed alone"
    lines = rows(tables.runs(report))
    assert len(lines) == 8 and sum(line["counted"] == "yes" for line in lines) == 4
    assert [line["score"] for line in lines if line["failure"] == "diverged"] == ["0"]
    assert [line["score"] for line in lines if line["state"] == "broken"] == ["", ""]


def test_a_run_met_twice_counts_once_and_is_said(tmp_path: Path) -> None:
    finished(tmp_path, spec("grpo", 0), [0.1, 0.4])
    found = trials.read(tmp_path)
    again = [*found, *trials.read(tmp_path)]
    report = Report.of(again)
    (remark,) = [one for one in left_out.remarks(report, again) if one.counted == "counted once"]
    assert "a second time" in remark.what
    assert len(rows(tables.runs(report))) == 1


def test_many_remarks_on_seeds_become_one(tmp_path: Path) -> None:
    for name in ("grpo", "ppo", "dapo"):
        finished(tmp_path, spec(name, 0), items=[[0, 1], [1, 1]])
    (remark,) = left_out.remarks(read(tmp_path))
    assert (remark.who, remark.what) == ("dapo, grpo, ppo", "one seed alone")


def test_curves_and_metrics_as_csv(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.7}, seeds=range(3), items=8, points=3)
    report = read(tmp_path)
    score = [line for line in rows(tables.curves(report)) if line["quantity"] == "score" and line["axis"] == "samples"]
    assert [float(line["at"]) for line in score] == [0, 500, 1000]
    runs = rows(tables.runs(report))
    assert float(score[-1]["value"]) == pytest.approx(numpy.mean([float(line["score"]) for line in runs]), abs=1e-7)
    assert all(float(line["low"]) <= float(line["value"]) <= float(line["high"]) for line in score)
    final = next(line for line in rows(tables.metrics(report)) if line["metric"] == "final_score")
    assert (final["better"], final["scope"], final["seeds"]) == ("higher", "run", "3")
    assert float(final["value"]) == pytest.approx(float(score[-1]["value"]), abs=1e-7)


def test_metrics_are_those_of_the_curves(tmp_path: Path) -> None:
    finished(tmp_path, spec("grpo", 0), [0.2, 0.8, 0.4])
    finished(tmp_path, spec("grpo", 1), [0.2, 0.9], end="diverged")
    kept = trials.read(tmp_path, ("eval_score",), metrics=("maximum_drawdown", "entropy_floor"))
    whole = trials.read(tmp_path)
    for trial, other in zip(kept, whole, strict=True):
        assert set(trial.curve) == {"step", "eval_score"}  # what only a metric needed is gone
        for name in ("maximum_drawdown", "entropy_floor"):
            assert trial.numbers[name] == registry.load("metrics", name)()(other.curve)
    report = Report.of(trials.read(tmp_path, metrics=measured.for_runs()))
    found = {one.name: one for one in measured.measured(report, report.boards[0])}
    (key,) = found["maximum_drawdown"].values
    assert found["maximum_drawdown"].values[key] == (pytest.approx(0.4), 1)  # of the seed that did not diverge
    assert found["divergence_rate"].values[key] == (0.5, 2)


def test_a_verdict_in_words(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.8, "ppo": 0.5, "untrained": 0.2, "random_reward": 0.2}, items=64)
    report = read(tmp_path)
    said = " ".join(standings.verdict(report.leaderboard(report.boards[0])))
    assert said.startswith("grpo leads with 0.")
    assert "Not shown to be better than the untrained start model: random_reward." in said
    assert "apart would mostly have looked alike" in said


def test_one_seed_gives_no_verdict(tmp_path: Path) -> None:
    finished(tmp_path, spec("grpo", 0), [0.1, 0.4])
    finished(tmp_path, spec("ppo", 0), [0.1, 0.5])
    report = read(tmp_path)
    (said,) = standings.verdict(report.leaderboard(report.boards[0]))
    assert said.startswith("Nothing is ranked") and said.endswith("the highest score is that of ppo, 0.500.")


@pytest.mark.parametrize("text", [HOSTILE, "{{data}}", "a & b", "\u2028", "\ud800", "\x00\x1b[31m"])
def test_text_stays_text(text: str) -> None:
    found = element("p", text, title=text)
    inner = found.partition(">")[2].removesuffix("</p>")
    assert "<" not in inner and '"' not in found.partition('title="')[2].partition('">')[0]
    found.encode()  # a lone half of a pair has no bytes
    assert not any(ord(c) < 32 and c not in "\n\t" for c in visible(text))


def test_data_cannot_end_its_script() -> None:
    held = {"text": HOSTILE + "\u2028\u2029<!--"}
    safe = payload.script_safe(json.dumps(held, ensure_ascii=False))
    assert "<" not in safe and "\u2028" not in safe and "\u2029" not in safe
    assert json.loads(safe) == held


def test_what_is_put_in_is_not_looked_at_again() -> None:
    assert fill("{{a}}-{{b}}", {"a": "{{b}}", "b": "1"}) == "{{b}}-1"


def test_numbers_are_rounded_to_significant_digits() -> None:
    given = numpy.array([0.123456, 1234567.0, -0.000123456, 0.0, -0.0, math.nan])
    found = payload.significant(given)
    assert numpy.array_equal(found, [0.1235, 1235000.0, -0.0001235, 0.0, 0.0, math.nan], equal_nan=True)
    assert not numpy.signbit(found[4])


def test_equal_arrays_are_kept_once() -> None:
    pool = payload.Pool()
    assert [pool.place(numpy.array(values)) for values in ([1.0, 2.0], [3.0], [1.0, 2.0 + 1e-9])] == [0, 1, 0]


def test_a_pair_of_one_prompt_is_chosen_where_there_is_one() -> None:
    def sample(prompt: str, step: int) -> dict[str, Any]:
        return {"prompt": prompt, "text": "", "step": step}

    held = [sample(prompt, step) for step, prompt in enumerate("abcdefghbi")]
    assert [one["step"] for one in completions.chosen(held)] == [1, 8]
    assert [one["step"] for one in completions.chosen([sample("a", 1), sample("b", 2)])] == [1, 2]
    assert [one["step"] for one in completions.chosen([sample("a", 1)])] == [1, 1]


def test_long_completions_are_cut() -> None:
    assert completions.cut("x" * 5000).endswith("(3800 more characters)")


def test_small_things() -> None:
    assert ranges([5, 0, 1, 2]) == "0..2,5"
    assert flat({"algorithm": {"name": "grpo", "settings": {"kl": 0.1}}, "train": {"lr": 1}, "seed": 3, "budget": 8}) == {
        "algorithm": "grpo",
        "algo.kl": 0.1,
        "train.lr": 1,
        "budget": 8,
    }
    assert machine({}) == ""
    assert (
        machine({"bench": "0.1", "revision": "abcdefghij", "dirty": True, "python": "3.11"})
        == "bench 0.1 at abcdefgh with changes, Python 3.11"
    )
    assert [metrics.brief(value) for value in (0.0, 12345.6, 0.12345, 1.2e-5)] == ["0", "12,346", "0.123", "1.2e-05"]


def count(report: Report, place: int) -> int:
    return sum(len(entry.trials) for entry in report.boards[place].entries)


def test_processes_do_what_one_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board(tmp_path, {"grpo": 0.7, "ppo": 0.5}, seeds=range(2), items=4, tasks=("last_digit", "gsm8k"))
    report = read(tmp_path)
    assert spread(report, count, [0, 1]) == [4, 4]
    alone = [curves.bands(report, place) for place in (0, 1)]
    monkeypatch.setattr("bench.report.page.spread.MANY", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    apart = spread(read(tmp_path), curves.bands, [0, 1])
    for one, other in zip(alone, apart, strict=True):
        for (key, band), (same, again) in zip(one, other, strict=True):
            assert key == same and (band is None) == (again is None)
            if band is not None and again is not None:
                assert numpy.array_equal(band.value, again.value) and numpy.array_equal(band.low, again.low, equal_nan=True)


def test_reading_in_one_go_is_reading_line_by_line(tmp_path: Path) -> None:
    """A torn last line, a corrupt one, two objects on a line: as the plain reader has it."""
    path = tmp_path / "curve.jsonl"
    for text in ("", '{"a":1}\n', '{"a":1}\n{"a":2}\n', '{"a":1}\n{"a":', '{"a":1}\n{"a":\n', "\n"):
        path.write_text(text)
        assert trials._lines(path) == trials.files.lines(path)
    for text in ('{"a":1}{"a":2}\n{"a":3}\n', '{"a":\n{"a":2}\n', '{"a":1},{"a":2}\n{"a":3}\n'):
        path.write_text(text)
        with pytest.raises(BenchError, match="line 1 is corrupt"):
            trials._lines(path)


def test_the_newest_item_scores_alone(tmp_path: Path) -> None:
    folder = finished(tmp_path, spec("grpo", 0), items=[[0, 1], [1, 1], [0, 0.5]])
    (trial,) = trials.read(tmp_path)
    assert trial.last_items() == trial.items()[-1]
    with (folder / "items.jsonl").open("a") as file:
        file.write('{"step": 9, "key"')  # a torn line counts for nothing
    assert trial.last_items() == trial.items()[-1]
    (folder / "items.jsonl").write_text("")
    assert trial.last_items() is None
    (folder / "items.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(BenchError, match="last line"):
        trial.last_items()


def test_thousands_are_read_and_reported_in_processes(tmp_path: Path) -> None:
    """More runs than one process reads: the numbers are those of one."""
    total = many(tmp_path, seeds=range(201), records=10)
    assert total >= trials.MANY
    apart, alone = trials.read(tmp_path, ("eval_score",)), trials.read(tmp_path, ("eval_score",), workers=1)
    assert [(trial.run_id, trial.last("eval_score")) for trial in apart] == [(trial.run_id, trial.last("eval_score")) for trial in alone]
