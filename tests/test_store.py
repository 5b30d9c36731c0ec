"""What the results folder promises as a whole: what it refuses, what it lists, what it finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runs import record, spec, store

from bench.errors import ConfigError, StoreError
from bench.store import RunStore


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file is not a folder; choose another results folder"):
        store(tmp_path / "file").open(spec(), {})
    with pytest.raises(StoreError, match="file is not a folder"):
        store(tmp_path / "file" / "below").open(spec(), {})


def test_too_little_space_is_noticed_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"MB free, .* MB are needed; free some space"):
        RunStore(tmp_path / "results", reserve=2**62).open(spec(), {})
    assert list(tmp_path.iterdir()) == []


def test_reopening_notes_the_machine_and_refuses_another_specification(tmp_path: Path) -> None:
    runs = store(tmp_path)
    runs.open(spec(), {"torch": "1"}).close()
    runs.open(spec(), {"torch": "2"}).close()
    (info,) = runs.runs()
    assert info.provenance == {"torch": "1", "resumed": [{"torch": "2"}]}
    held = json.loads((info.folder / "spec.json").read_text())
    held["spec"]["budget"] = 7
    (info.folder / "spec.json").write_text(json.dumps(held))
    with pytest.raises(StoreError, match=r"another specification \(it differs in budget\)"):
        runs.open(spec(), {})
    with pytest.raises(StoreError, match="another specification"):  # and no lock is left behind
        runs.open(spec(), {})


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        store(tmp_path).open(spec(), {"not": object()})
    assert list((tmp_path / "last_digit-tiny" / "grpo").iterdir()) == []


def test_runs_lists_states_and_survives_broken_folders(tmp_path: Path) -> None:
    runs = store(tmp_path)
    assert runs.runs() == []
    with runs.open(spec(0), {}) as opened:
        opened.append(record(0))
        opened.append(record(1))
        opened.finish({"final_score": 0.25})
    runs.open(spec(1), {}).close()
    running = runs.open(spec(0, "ppo"), {})
    broken = tmp_path / "last_digit-tiny" / "grpo" / "broken"
    broken.mkdir()
    (broken / "spec.json").write_text("{")
    found = {(info.folder.parent.name, info.run_id): info for info in runs.runs()}
    finished = found["grpo", spec(0).run_id]
    assert (finished.state, finished.count, finished.last, finished.spec) == ("finished", 2, record(1), spec(0))
    assert finished.summary == {"final_score": 0.25}
    assert found["grpo", spec(1).run_id].state == "stopped"
    assert found["ppo", spec(0, "ppo").run_id].state == "running"
    assert "spec.json cannot be read" in (found["grpo", "broken"].error or "")
    assert [info.run_id for info in runs.runs(algorithm="ppo")] == [spec(0, "ppo").run_id]
    assert [info.run_id for info in runs.runs(seed=1, state="stopped")] == [spec(1).run_id]
    assert len(runs.runs(state="broken")) == 1
    with pytest.raises(ConfigError, match="Did you mean 'seed'"):
        runs.runs(sed=1)
    running.close()


def test_find_by_prefix(tmp_path: Path) -> None:
    runs = store(tmp_path)
    ids = []
    for seed in range(20):  # more than sixteen: two share their first digit
        runs.open(spec(seed), {}).close()
        ids.append(spec(seed).run_id)
    assert runs.find(ids[3]).spec == spec(3)
    shortest = next(ids[3][:n] for n in range(1, 13) if sum(one.startswith(ids[3][:n]) for one in ids) == 1)
    assert runs.find(shortest).run_id == ids[3]
    digit = next(d for d in "0123456789abcdef" if sum(one.startswith(d) for one in ids) > 1)
    with pytest.raises(StoreError, match="give more digits"):
        runs.find(digit)
    misspelt = ids[3][:-1] + ("0" if ids[3][-1] != "0" else "1")
    with pytest.raises(ConfigError, match=f"no run in .* called '{misspelt}'. Did you mean '{ids[3]}'"):
        runs.find(misspelt)
    with pytest.raises(ConfigError, match="no run in"):
        runs.find("")


def test_the_frame_is_tidy(tmp_path: Path) -> None:
    runs = store(tmp_path)
    assert list(runs.frame().columns[:5]) == ["table", "algorithm", "run_id", "seed", "step"]
    with runs.open(spec(3), {}) as opened:
        opened.append(record(0))
        opened.append(record(1))
    frame = runs.frame()
    assert frame[["table", "algorithm", "run_id", "seed", "step", "tokens", "gate"]].values.tolist() == [
        ["last_digit-tiny", "grpo", spec(3).run_id, 3, 0, 0, 1.0],
        ["last_digit-tiny", "grpo", spec(3).run_id, 3, 1, 40, 1.0],
    ]
    assert frame["eval_score"].isna().tolist() == [False, True]
    assert frame["eval_score"].dtype == float


def test_the_store_imports_neither_torch_nor_pandas() -> None:
    code = "import sys, bench.store; print([name for name in ('torch', 'pandas', 'safetensors', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert done.stdout.strip() == "[]"
