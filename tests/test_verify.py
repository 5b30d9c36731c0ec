"""A row that is run again comes to the same bytes, and whatever was tampered with is found."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boards import PROVENANCE, board, finished, spec
from control_runs import specs as control_specs
from control_runs import trained
from test_cli import QUICK, run

from bench import trials
from bench.board import differences, finding
from bench.board.groups import Board, boards
from bench.board.hashing import row_hash, spec_hash
from bench.board.noise import band
from bench.board.packing import pack
from bench.errors import BenchError, ConfigError, StoreError
from bench.trials import Trial
from bench.verify import check, elsewhere, plan, verify

TRAIN = ["run", "--algo", "grpo", "--task", "last_digit", "--tier", "tiny", "--seeds", "0..1", *QUICK]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed results folder with a row of two seeds."""
    root = tmp_path_factory.mktemp("verify")
    assert run(*TRAIN, "--results", str(root / "runs")).exit_code == 0
    pack(trials.read(root / "runs"), root / "packed")
    return root / "packed"


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """The same, to be tampered with: a copy."""
    pack(trials.read(made), tmp_path / "results")
    return tmp_path / "results"


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Change the text of a packed log."""
    before = gzip.decompress(path.read_bytes()).decode()
    assert change(before) != before
    path.write_bytes(gzip.compress(change(before).encode()))


def folder_of(results: Path, seed: int) -> Path:
    (trial,) = (trial for trial in trials.read(results) if trial.seed == seed)
    return trial.folder


def test_a_row_of_text_is_the_same_again(results: Path) -> None:
    done = run("verify", "last_digit-tiny/grpo", "--results", str(results), "--seeds", "all")
    assert done.exit_code == 0, done.output
    assert "seed 0: holds, the same bytes in 3 records" in done.output and "seed 1: holds, the same bytes in 3 records" in done.output


def test_a_packed_run_is_shown_by_the_command_that_made_it(results: Path) -> None:
    logs = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert len(logs) == 2 * 6
    shown = run(*TRAIN, "--results", str(results))
    assert shown.exit_code == 0, shown.output
    assert "held-out score (pass@1)" in shown.output
    assert {path: path.read_bytes() for path in results.rglob("*") if path.name != "curve.png" and path.is_file()} == logs


def test_a_row_is_found_by_its_hash_and_one_seed_is_enough(results: Path, tmp_path: Path) -> None:
    (found,) = boards(trials.read(results))
    digits = row_hash(found.entries[0].trials)
    done = run("verify", digits[:5], "--results", str(results), "--json", "--keep", str(tmp_path / "kept"))
    assert done.exit_code == 0, done.output
    (line,) = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert (line["row"], line["hash"], line["seed"], line["holds"], line["exact"]) == ("last_digit-tiny/grpo", digits, 0, True, True)
    assert [trial.seed for trial in trials.read(tmp_path / "kept" / "0")] == [0]
    again = run("verify", digits[:5], "--results", str(results), "--keep", str(tmp_path / "kept"))
    assert "is not empty; give --keep a new folder" in str(again.exception)


def test_one_changed_digit_is_caught_with_its_place(results: Path) -> None:
    curve = folder_of(results, 0) / "curve.jsonl.gz"
    lines = gzip.decompress(curve.read_bytes()).decode().splitlines()
    score = json.loads(lines[2])["eval_score"]
    other = 0.5 if score != 0.5 else 0.625
    rewrite(curve, lambda text: text.replace(lines[2], lines[2].replace(f'"eval_score":{score}', f'"eval_score":{other}')))
    done = run("verify", "last_digit-tiny/grpo", "--results", str(results))
    assert done.exit_code == 1
    assert f"seed 0: differs, at step 2 in eval_score: {score}, was {other} (curve.jsonl)" in done.output


@pytest.mark.parametrize("log", ["items", "samples"])
def test_other_logs_are_compared_as_well(results: Path, log: str) -> None:
    rewrite(folder_of(results, 0) / f"{log}.jsonl.gz", lambda text: text.replace("0", "1", 1))
    done = run("verify", "last_digit-tiny/grpo", "--results", str(results))
    assert done.exit_code == 1 and f"({log}.jsonl)" in done.output


def test_a_changed_specification_is_caught_before_anything_runs(results: Path) -> None:
    path = folder_of(results, 0) / "spec.json"
    held = json.loads(path.read_text())
    held["spec"]["train"]["lr"] *= 2
    path.write_text(json.dumps(held))
    (found,) = boards(trials.read(results))
    changed = next(entry for entry in found.entries if 0 in entry.seeds)
    with pytest.raises(
        StoreError, match=f"was changed: its specification has the hash {spec_hash(held['spec'])}, and the run is {path.parent.name}"
    ):
        plan(changed, [0])


def test_a_recorded_hash_is_held_against_the_files(results: Path) -> None:
    (found,) = boards(trials.read(results))
    digits = row_hash(found.entries[0].trials)
    held = {"boards": [{"board": "last_digit-tiny", "rows": [{"label": "grpo", "hash": digits}]}]}
    (results / "leaderboard.json").write_text(json.dumps(held))
    assert run("verify", digits, "--results", str(results)).exit_code == 0
    rewrite(folder_of(results, 1) / "curve.jsonl.gz", lambda text: text.replace("1", "2", 1))
    for name in (digits[:6], "last_digit-tiny/grpo"):
        done = run("verify", name, "--results", str(results))
        assert isinstance(done.exception, StoreError)
        assert f"was recorded with the hash {digits}, and its 2 runs now have" in str(done.exception)
    (results / "leaderboard.json").write_text("{")
    assert "cannot be read" in str(run("verify", digits, "--results", str(results)).exception)


def test_seeds_that_were_trained_together_are_run_together(tmp_path: Path) -> None:
    wanted = control_specs("ppo", (3, 0, 11))
    trained(wanted, tmp_path / "results")
    (found,) = boards(trials.read(tmp_path / "results"))
    (entry,) = found.entries
    assert [[one.seed for one in group] for group in plan(entry, [11, 0])] == [[3, 0, 11]]
    verdicts = verify(entry, [11, 0], tmp_path / "again", lambda spec, record: None)
    assert [(v.seed, v.holds, v.exact) for v in verdicts] == [(11, True, True), (0, True, True)]


def test_what_cannot_be_run_again_says_why(tmp_path: Path) -> None:
    full = replace(spec("grpo", 0), tier="full")
    finished(tmp_path, full, [0.1])
    finished(tmp_path, spec("grpo", 0), [0.1])
    held = {one.table: one for one in boards(trials.read(tmp_path))}
    with pytest.raises(ConfigError, match="is of the tier 'full'; rows of the tiny tier and of Gymnasium can be run again"):
        plan(held["last_digit-full"].entries[0], [0])
    entry = held["last_digit-tiny"].entries[0]
    with pytest.raises(ConfigError, match="has no seed 7; it has 0"):
        plan(entry, [7])


def _trial(spec_: dict[str, Any], run_id: str, provenance: dict[str, Any] = PROVENANCE) -> Trial:
    return Trial("last_digit-tiny", "grpo", run_id, 0, "finished", Path("x"), spec_, {}, provenance)


def test_a_run_of_another_version_says_which_one_made_it(tmp_path: Path) -> None:
    held = json.loads((finished(tmp_path, spec("grpo", 0), [0.1]) / "spec.json").read_text())["spec"]
    older = {**held, "train": {k: v for k, v in held["train"].items() if k != "measure_kl"}}
    with pytest.raises(ConfigError, match=r"lacks settings that this version has; .*: bench 0\.1\.0, revision abc with changes"):
        check(_trial(older, spec_hash(older), PROVENANCE | {"revision": "abc", "dirty": True}))
    newer = {**held, "train": {**held["train"], "momentum": 0.9}}
    with pytest.raises(ConfigError, match="settings that this version does not know"):
        check(_trial(newer, spec_hash(newer)))


def test_the_platform_is_what_may_change_bits() -> None:
    was = _trial({}, "", PROVENANCE)

    def moved(**facts: Any) -> list[str]:
        return elsewhere(was, _trial({}, "", PROVENANCE | facts))

    assert moved() == moved(python="3.11.9", cores=64, revision="other", packages={"torch": "2.13.0", "pandas": "9"}) == []
    assert moved(python="3.12.1") == ["Python 3.12, was 3.11"]
    assert moved(cpu="another", threads=2) == ["cpu another, was a test's", "threads 2, was 1"]
    assert moved(packages={"torch": "2.14.0"}) == ["torch 2.14.0, was 2.13.0"]
    resumed = _trial({}, "", PROVENANCE | {"resumed": [PROVENANCE | {"cpu": "another"}]})
    assert elsewhere(resumed, was) == ["cpu a test's, was another"]
    beside = _trial({}, "", PROVENANCE | {"seeds_together": [0, 1], "resumed": [PROVENANCE | {"seeds_together": [0]}]})
    assert elsewhere(beside, was) == ["it was trained beside other seeds before it was resumed"]


def test_a_version_that_records_more_holds_what_was_recorded(results: Path, tmp_path: Path) -> None:
    """A probe that the row's version did not have is no difference, unless this very version made the row."""
    folder = folder_of(results, 0)
    rewrite(folder / "curve.jsonl.gz", lambda text: re.sub(r'"eval/strict":[0-9.]+,', "", text, count=1))
    (verdict,) = verify(_one(results).entries[0], [0], tmp_path / "a", lambda spec, record: None)
    assert not verdict.holds and "in probes.eval/strict" in verdict.detail and "was absent" in verdict.detail
    held = json.loads((folder / "spec.json").read_text())
    held["provenance"]["revision"] = "an older one"
    (folder / "spec.json").write_text(json.dumps(held))
    rewrite(folder / "curve.jsonl.gz", lambda text: re.sub(r'"eval/strict":[0-9.]+,', "", text))
    (verdict,) = verify(_one(results).entries[0], [0], tmp_path / "b", lambda spec, record: None)
    assert verdict.holds and "the same in all of 3 records; this version also records probes.eval/strict" in verdict.detail
    rewrite(folder / "curve.jsonl.gz", lambda text: text.replace('"tokens":', '"tokens":1', 1))
    (verdict,) = verify(_one(results).entries[0], [0], tmp_path / "c", lambda spec, record: None)
    assert not verdict.holds and "the code is not the one that made it: bench" in verdict.detail


def _one(root: Path) -> Board:
    (found,) = boards(trials.read(root))
    return found


def test_the_band_is_that_of_two_draws(tmp_path: Path) -> None:
    """Scores 0.50, 0.52 and 0.54 deviate by 0.02; Student's quantile for 99 % at two degrees of freedom is 9.925; two draws, root of 2."""
    for seed, score in enumerate((0.50, 0.52, 0.54)):
        finished(tmp_path, spec("grpo", seed), [0.1, score])
    finished(tmp_path, spec("ppo", 0), [0.1, 0.5])
    grpo, ppo = _one(tmp_path).entries
    assert band(grpo) == pytest.approx(9.92484 * 0.02 * 2**0.5, rel=1e-4)
    assert math.isnan(band(ppo))


def test_elsewhere_the_score_decides_within_its_band(results: Path, tmp_path: Path) -> None:
    path = folder_of(results, 0) / "spec.json"
    held = json.loads(path.read_text())
    held["provenance"]["cpu"] = "one that nobody has"
    path.write_text(json.dumps(held))
    (entry,) = _one(results).entries
    (same,) = verify(entry, [0], tmp_path / "same", lambda spec, record: None)
    assert same.holds and same.exact and "although cpu" in same.detail
    curve = path.parent / "curve.jsonl.gz"
    score = entry.trials[0].last("eval_score")
    rewrite(curve, lambda text: text.replace(f'"eval_score":{score}', f'"eval_score":{score - 0.1}'))
    (entry,) = _one(results).entries
    for allowed, holds in ((0.11, True), (0.09, False), (math.nan, False)):
        (verdict,) = verify(entry, [0], tmp_path / str(allowed), lambda spec, record: None, allowed)
        assert (verdict.holds, verdict.exact) == (holds, False)
        assert "another platform (cpu" in verdict.detail
        assert ("apart by 0.1000, band" in verdict.detail) is not math.isnan(allowed)


def test_a_run_that_diverged_diverges_again(tmp_path: Path) -> None:
    options = [*TRAIN, "--set", "train.lr=1e30", "--set", "train.grad_clip=1e30", "--set", "train.warmup=0"]
    failed = run(*options, "--results", str(tmp_path / "results"))
    assert isinstance(failed.exception, BenchError)
    entry = _one(tmp_path / "results").entries[0]
    assert (entry.seeds, entry.diverged) == ((0,), 1)
    (verdict,) = verify(entry, [0], tmp_path / "again", lambda spec, record: None)
    assert verdict.holds and verdict.exact
    mark = entry.trials[0].folder / "failed.json"
    mark.write_text(mark.read_text().replace("step", "stop", 1))
    (verdict,) = verify(entry, [0], tmp_path / "changed", lambda spec, record: None)
    assert not verdict.holds and "(failed.json)" in verdict.detail


def test_rows_are_named_as_the_board_names_them(tmp_path: Path) -> None:
    board(tmp_path, {"grpo": 0.7, "ppo": 0.5}, seeds=range(2), tasks=("last_digit", "countdown"))
    finished(tmp_path, spec("grpo", 0, clip_high=0.3), [0.1, 0.2])
    found = boards(trials.read(tmp_path))
    assert finding.row(found, "countdown-tiny/ppo")[1].label == "ppo"
    labels = [entry.label for entry in found[1].entries]
    assert finding.row(found, f"last_digit-tiny/{labels[1]}")[1].label == labels[1]
    with pytest.raises(ConfigError, match=r"row 'last_digit-tiny/grpo' could be .*; give its hash"):
        finding.row(found, "last_digit-tiny/grpo")
    with pytest.raises(ConfigError, match=r"no row called 'countdown-tiny/pop'. Did you mean 'countdown-tiny/ppo'\?"):
        finding.row(found, "countdown-tiny/pop")
    with pytest.raises(ConfigError, match="no row called 'abc'"):  # too short for a hash
        finding.row(found, "abc")


def test_places_of_differences(tmp_path: Path) -> None:
    def put(name: str, **logs: str) -> Path:
        (tmp_path / name).mkdir()
        for log, text in logs.items():
            (tmp_path / name / f"{log}.jsonl").write_text(text)
        return tmp_path / name

    was = put("was", curve='{"step":0,"x":1}\n{"step":4,"probes":{"a":1,"b":2}}\n')
    assert differences.first(was, put("same", curve='{"step":0,"x":1}\n{"step":4,"probes":{"a":1,"b":2}}\n')) is None
    assert (
        differences.first(was, put("more", curve=(was / "curve.jsonl").read_text() + "{}\n"))
        == "it has 3 lines, and had 2 lines (curve.jsonl)"
    )
    assert differences.first(was, put("none")) == "it has no line, and had 2 lines (curve.jsonl)"
    inner = put("inner", curve='{"step":0,"x":1}\n{"step":4,"probes":{"a":1}}\n')
    assert differences.first(was, inner) == "at step 4 in probes.b: absent, was 2 (curve.jsonl)"
    assert differences.first(was, put("spaced", curve='{"step":0, "x":1}\n{}\n')) == "at step 0 is written in another way (curve.jsonl)"
    assert differences.first(was, put("torn", curve='{"step":0\n{}\n')) == "line 1 is corrupt (curve.jsonl)"
    assert differences.first(was, put("cut", curve='{"step":0,"x":1}\n{"step":4,"pro')) == "line 2 is corrupt (curve.jsonl)"
    kept = put("kept", curve=(was / "curve.jsonl").read_text(), items='{"step":0,"scores":[1,2]}\n', samples="{}\n")
    assert differences.first(was, kept) is None  # the older version kept none
    assert differences.first(inner, was) == "at step 4 in probes.b: 2, was absent (curve.jsonl)"
    assert differences.first(inner, was, more=True) is None and differences.added(inner, was) == ["probes.b"]
    assert differences.first(was, inner, more=True) == "at step 4 in probes.b: absent, was 2 (curve.jsonl)"
    other = put("other", curve=(was / "curve.jsonl").read_text(), items='{"step":0,"scores":[1,3]}\n', samples="{}\n")
    assert differences.first(kept, other) == "at step 0 in scores[1]: 3, was 2 (items.jsonl)"
    assert differences.first(kept, was) == "it has no line, and had 1 line (items.jsonl)"
