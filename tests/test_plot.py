"""`bench plot`: files, names and what it says where there is nothing to draw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import boards
import pytest

from bench.errors import ConfigError, StoreError
from bench.report.plotting import plot


@pytest.fixture
def results(tmp_path: Path) -> Path:
    boards.board(tmp_path / "results", {"grpo": 0.7, "ppo": 0.5}, seeds=range(2), tasks=("last_digit", "chain_sum"))
    return tmp_path / "results"


def test_each_board_gets_its_file(results: Path, tmp_path: Path) -> None:
    paths, empty = plot(results, "gate", tmp_path / "new" / "gate.svg")
    assert [path.name for path in paths] == ["gate-chain_sum-tiny.svg", "gate-last_digit-tiny.svg"]
    assert all(path.read_text().startswith("<?xml") for path in paths)
    assert empty == []


def test_one_board_has_the_name_it_was_given(results: Path, tmp_path: Path) -> None:
    (path,), _ = plot(results, "learning_curves", tmp_path / "a.pdf", tables="last_digit-tiny", algorithms="grpo", axis="tokens")
    assert path == tmp_path / "a.pdf"
    assert path.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "lerning_curves"}, "Did you mean 'learning_curves'"),
        ({"name": "gate", "axis": "toks"}, "no axis called 'toks'. Did you mean 'tokens'"),
        ({"name": "gate", "format": "jpg"}, "no format called 'jpg'"),
        ({"name": "gate", "tables": "last_digit"}, "Did you mean 'last_digit-tiny'"),
        ({"name": "gate", "algorithms": "grop"}, "Did you mean 'grpo'"),
        ({"name": "kl"}, "nothing to draw: no run on this board measured its divergence"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(settings: dict[str, str], message: str, results: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        plot(results, **settings)


def test_no_runs_are_said_and_the_rules_can_be_drawn_without_any(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no runs in"):
        plot(tmp_path / "none", "gate")
    (path,), _ = plot(tmp_path / "none", "effective_weight", tmp_path / "weights")
    assert path.name == "weights.png"


def test_a_place_that_cannot_be_written_is_said(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        plot(results, "gate", tmp_path / "file" / "gate.png")


def test_the_command_lists_pictures_and_draws_without_torch(results: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from bench.cli import app; app(sys.argv[1:], standalone_mode=False); "
        "assert not {'torch', 'transformers'} & set(sys.modules), 'torch'"
    )
    listed = subprocess.run([sys.executable, "-c", code, "plot", "--list"], capture_output=True, text=True, check=True)
    assert "learning_curves" in listed.stdout
    out = str(tmp_path / "p.png")
    made = subprocess.run([sys.executable, "-c", code, "plot", "aggregates", "--results", str(results), "--out", out], check=True)
    assert made.returncode == 0
    assert Path(out).read_bytes()[:4] == b"\x89PNG"
