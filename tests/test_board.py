"""The README says what the runs in results/board say, and those can be looked at and run again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.board.groups import boards
from bench.cli import app
from bench.trials import Trial, read
from bench.verify import check

HOME = Path(__file__).resolve().parents[1]
BOARD = HOME / "results" / "board"
PICTURES = HOME / "docs" / "pictures"


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return read(BOARD)


def test_the_readme_holds_the_leaderboard_of_the_runs() -> None:
    done = CliRunner().invoke(app, ["leaderboard", "--results", str(BOARD), "--readme", str(HOME / "README.md"), "--check"])
    assert done.exit_code == 0, done.output


def _drawings() -> list[str]:
    """The arguments of the plots that `make board` draws."""
    return re.findall(r"bench plot (.*docs/pictures/.*)", (HOME / "Makefile").read_text())


def test_pictures_are_those_of_the_runs(tmp_path: Path) -> None:
    drawn = _drawings()
    assert len(drawn) >= 2
    for line in drawn:
        *arguments, out = line.replace("results/board", str(BOARD)).split()
        done = CliRunner().invoke(app, ["plot", *arguments, str(tmp_path / Path(out).name)])
        assert done.exit_code == 0, done.output
        assert (tmp_path / Path(out).name).read_bytes() == (HOME / out).read_bytes(), f"`make board` draws {out} anew"
        assert f"]({out})" in (HOME / "README.md").read_text()


def test_every_row_has_five_seeds_or_more_and_nothing_is_broken(trials: list[Trial]) -> None:
    found = boards(trials)
    assert {board.protocol["tier"] for board in found} == {"tiny", "control"} and len(found) >= 4
    for board in found:
        assert not board.broken and all(not entry.left_out for entry in board.entries)
        assert all(len(entry.trials) >= 5 for entry in board.entries), board.name


def test_every_run_can_be_run_again_by_this_version(trials: list[Trial]) -> None:
    for trial in trials:
        check(trial)


def test_the_runs_are_small_and_without_checkpoints() -> None:
    names = {path.name for path in BOARD.glob("*/*/*/*")}
    assert names <= {"spec.json", "done.json", "failed.json", "curve.jsonl.gz", "timing.jsonl.gz", "items.jsonl.gz", "samples.jsonl.gz"}
    assert sum(path.stat().st_size for path in BOARD.rglob("*") if path.is_file()) < 20e6
