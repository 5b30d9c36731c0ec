"""The same cells on a Ray cluster, and by a Slurm job array."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sweeping import HOME, QUICK, content, planned, starts, swept
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import ConfigError, MissingError
from bench.slurm import write
from bench.sweep import cluster, jobs

ASKED = ["--algo", "grpo", "--task", "last_digit", "--seeds", "0..1", "--tier", "tiny", "--budget", "160"]
ASKED += [part for setting in QUICK for part in ("--set", setting)]


def test_without_ray_the_pip_line_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r'pip install -c constraints.txt "rl-bench-suite\[ray\]"'):
        cluster.require()


@pytest.mark.slow
def test_a_ray_cluster_runs_the_same_cells_and_a_lost_process_costs_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason='pip install -c constraints.txt "rl-bench-suite[ray]"')
    script = tmp_path / "killing.py"  # kills the process of the first task once it has left a record
    script.write_text(KILLING)
    done = subprocess.run(
        [sys.executable, str(script), "sweep", *ASKED, "--executor", "ray", "--workers", "1", "--results", str(tmp_path / "ray")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HOME)},
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Ray lost its process (WorkerCrashedError") == 1 and "it is tried once more" in done.stdout
    swept(planned(algo="grpo"), tmp_path / "here")
    assert content(tmp_path / "ray") == content(tmp_path / "here")
    assert sorted(starts(tmp_path / "ray").values()) == [1, 2]


KILLING = """
import os, re, signal, sys
from pathlib import Path
from bench.cli import main
from bench.sweep import cluster

root, killed = Path(sys.argv[sys.argv.index("--results") + 1]), []
poll = cluster.RayCrew.poll

def killing(self, seconds):
    for lock in root.glob("*/*/*/lock"):
        curve = lock.with_name("curve.jsonl")
        if not killed and curve.exists() and curve.read_bytes():
            killed.append(int(re.match(r"process (\\d+) ", lock.read_text())[1]))
            os.kill(killed[0], signal.SIGKILL)
    return poll(self, 0.02)

cluster.RayCrew.poll = killing
main()
"""


def test_a_slurm_script_is_a_script_and_each_index_runs_its_jobs(tmp_path: Path) -> None:
    script, results = tmp_path / "to submit" / "out.sh", tmp_path / "the results"
    said = CliRunner().invoke(app, ["sweep", *ASKED, "--slurm", str(script), "--results", str(results)])
    assert said.exit_code == 0 and f"sbatch '{script}'" in said.output, said.output
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    text = script.read_text()
    assert "#SBATCH --array=0-1\n" in text and "gpu" not in text
    ready = {**os.environ, "PYTHONPATH": str(HOME)}
    bare = subprocess.run([str(script)], capture_output=True, text=True, env=ready, check=False)
    assert bare.returncode != 0 and "run this with sbatch" in bare.stderr and not results.exists()
    done = subprocess.run([str(script)], capture_output=True, text=True, env={**ready, "SLURM_ARRAY_TASK_ID": "1"}, check=False)
    assert done.returncode == 0, done.stderr
    second = planned(algo="grpo")[1].specs[0]
    assert set(content(results)) == {second.run_id}


def test_beyond_slurms_limit_an_index_runs_several_jobs(tmp_path: Path) -> None:
    many = planned(algo="grpo", seeds="0..2300")
    write(tmp_path / "out.sh", many, tmp_path / "r")
    text = (tmp_path / "out.sh").read_text()
    assert "#SBATCH --array=0-999\n" in text
    found: list[int] = []
    for index in range(1000):
        asked = f"seq -s, {index} {text.partition('$index')[2][2:].partition(')')[0]}"
        if index in (0, 300, 301, 999):
            found += map(int, subprocess.run(asked.split(), capture_output=True, text=True, check=True).stdout.strip().split(","))
    assert sorted(found) == [0, 300, 301, 999, 1000, 1300, 1301, 1999, 2000, 2300]
    assert len(jobs.read(tmp_path / "out.sh.jobs")) == 2301


def test_an_index_that_is_none_and_a_path_that_slurm_reads_otherwise(tmp_path: Path) -> None:
    jobs.write(tmp_path / "out.sh.jobs", planned(algo="grpo"))
    result = CliRunner().invoke(app, ["sweep", "--file", str(tmp_path / "out.sh.jobs"), "--only", "2", "--results", str(tmp_path)])
    assert "the file holds 2 jobs, 0 to 1" in str(result.exception)
    with pytest.raises(ConfigError, match="has a line break or a %"):
        write(tmp_path / "50%.sh", planned(algo="grpo"), tmp_path)
