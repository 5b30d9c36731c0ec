from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hostile import HEDGES, HOSTILE_TASK, HUGE, UNREADABLE

from bench import registry, verifying
from bench.errors import BenchError, ConfigError
from bench.verifying import Verifier
from tasks.base import Problem, TextTask
from tasks.last_digit import LastDigit

DEADLY = ("exit", "kill", "segfault", "abort", "hoard", "bomb", "recursion")
FALSE = ("leave", "raise", "read", "nan", "infinity", "text", "none", "nan part", "too large", "odd part")
LATE = ("hang", "spin", "backtrack", "tower")
PROBLEM = Problem("p", "prompt", "fine", {})


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The hostile task's class, imported from a folder on the path as a third party's would be."""
    (tmp_path / "hostile_task.py").write_text(HOSTILE_TASK)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("hostile_task").Hostile
    sys.modules.pop("hostile_task")


def score(verifier: Verifier, *texts: str) -> list[Any]:
    return verifier.score([(PROBLEM, text) for text in texts])


@pytest.mark.parametrize("text", [*DEADLY, *FALSE, *LATE])
def test_a_hostile_completion_costs_itself_and_nothing_else(make: Any, text: str) -> None:
    with Verifier(make(), time_limit=1.0, memory_limit=1 << 28) as verifier:
        before, bad, after, worse, last = score(verifier, "fine", text, "fine", text, "fine")
        assert [before.reward, after.reward, last.reward] == [1, 1, 1]
        assert score(verifier, "fine")[0].reward == 1
    for verdict in (bad, worse):
        assert (verdict.reward, verdict.correct) == (0, 0)
        assert {k: verdict.parts[k] for k in ("strict", "lenient", "error")} == {"strict": 0, "lenient": 0, "error": 1}
        assert ("timeout" in verdict.parts) == (text in LATE)


@pytest.mark.parametrize("text", ["print", "interrupt"])
def test_noise_and_interrupts_change_nothing(make: Any, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with Verifier(make()) as verifier:
        assert [verdict.reward for verdict in score(verifier, text, "fine")] == [1, 1]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("workers", [1, 3])
def test_verdicts_keep_the_order_of_the_items(make: Any, workers: int) -> None:
    texts = ["exit" if i % 40 == 7 else "raise" if i % 3 else "fine" for i in range(200)]
    with Verifier(make(), workers=workers) as verifier:
        assert [verdict.reward for verdict in score(verifier, *texts)] == [float(text == "fine") for text in texts]


def test_several_workers_share_the_work_and_stay(make: Any) -> None:
    with Verifier(make(), workers=2) as verifier:
        first, second = ({verdict.reward for verdict in score(verifier, *["pid"] * 20)} for _ in range(2))
    assert len(first) == 2
    assert first == second


def test_a_worker_that_died_while_idle_blames_no_completion(make: Any) -> None:
    with Verifier(make()) as verifier:
        pid = int(score(verifier, "pid")[0].reward)
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        assert [verdict.reward for verdict in score(verifier, "fine", "fine")] == [1, 1]
        score(verifier, "die later")
        time.sleep(1.0)
        assert [verdict.reward for verdict in score(verifier, "fine", "fine")] == [1, 1]


def test_files_in_the_working_folder_are_not_imported(make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "resource.py").write_text("raise SystemExit('the wrong file')")
    monkeypatch.setattr(sys, "path", [os.path.abspath(entry) for entry in sys.path])
    monkeypatch.chdir(elsewhere)
    with Verifier(make()) as verifier:
        assert score(verifier, "fine")[0].reward == 1


def test_nothing_and_too_much_are_answered(make: Any) -> None:
    with Verifier(make()) as verifier:
        assert score(verifier) == []
        long, fine = score(verifier, "x" * (verifying.LONGEST + 1), "x" * verifying.LONGEST)
        assert (long.reward, long.parts["error"]) == (0, 1)
        assert fine.reward == 1


def test_chunks_larger_than_a_pipe_holds_do_not_lock(make: Any) -> None:
    with Verifier(make()) as verifier:
        assert sum(verdict.reward for verdict in score(verifier, *["y" * 90_000] * 150)) == 150


def test_close_ends_the_workers_and_score_starts_new_ones(make: Any) -> None:
    verifier = Verifier(make(), workers=2)
    pids = {int(verdict.reward) for verdict in score(verifier, *["pid"] * 20)}
    verifier.close()
    verifier.close()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert score(verifier, "fine")[0].reward == 1
    verifier.close()


def test_an_interrupted_call_leaves_no_stale_verdicts(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with Verifier(make()) as verifier:

        def interrupt(*_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(verifying, "wait", interrupt)
            score(verifier, *["raise"] * 5)
        assert [verdict.reward for verdict in score(verifier, "fine", "fine")] == [1, 1]


def test_a_task_that_cannot_start_is_one_clear_error(make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Verifier(make(broken=True)) as verifier, pytest.raises(BenchError, match=r"Hostile \(RuntimeError: cannot be set up\)"):
        score(verifier, "fine")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    with Verifier(make()) as verifier, pytest.raises(BenchError, match=r"No module named 'hostile_task'.*define the task in a module"):
        score(verifier, "fine")


def test_values_that_cannot_work_are_refused(make: Any) -> None:
    for wrong in ({"workers": 0}, {"time_limit": 0.0}, {"time_limit": float("inf")}, {"memory_limit": 1000}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
            Verifier(make(), **wrong)

    class Local(LastDigit):
        pass

    with pytest.raises(ConfigError, match="top level of a module"):
        Verifier(Local())


SCRIPT = """
import os, sys, time
from bench.verifying import Verifier
from tasks.base import Problem
from hostile_task import Hostile

print("ran", flush=True)
verifier = Verifier(Hostile(), time_limit={limit})
print(int(verifier.score([(Problem("p", "", "", {{}}), "pid")])[0].reward), flush=True)
{then}
"""


@pytest.mark.parametrize(
    ("then", "limit"),
    [("os._exit(0)", 30.0), ("verifier.score([(Problem('p', '', '', {}), 'spin')])", 1.0)],
    ids=["an idle worker", "a busy worker"],
)
def test_workers_end_when_their_parent_is_killed(make: Any, tmp_path: Path, then: str, limit: float) -> None:
    """The script has no `__main__` guard, and is still run once."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(limit=limit, then=then))
    root = str(Path(verifying.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, str(tmp_path)])}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ran\n"
    worker = Path("/proc") / parent.stdout.readline().strip()
    time.sleep(0.3)
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == ""
    parent.stdout.close()
    until = time.monotonic() + 30
    while alive(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(worker)


def alive(process: Path) -> bool:
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_loads_no_heavy_library() -> None:
    code = textwrap.dedent("""
        import sys
        import bench.verifying, tasks.gsm8k, tasks.countdown
        print(sorted({"torch", "numpy", "pandas", "transformers", "typer"} & set(sys.modules)))
    """)
    root = str(Path(verifying.__file__).parents[1])
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout == "[]\n"


def text_tasks() -> list[str]:
    """Those whose problems are at hand; math reads a data set, and has such tests beside one."""
    return [name for name in registry.names("tasks") if name != "math" and issubclass(registry.load("tasks", name), TextTask)]


@pytest.mark.parametrize("name", text_tasks())
def test_a_shipped_task_gives_hostile_answers_nothing(name: str) -> None:
    task = registry.load("tasks", name)()
    problem = next(task.problems("train", 0))
    hostile = [*UNREADABLE.values(), *HEDGES.values(), *HUGE.values()]
    with Verifier(task, time_limit=10.0) as verifier:
        verdicts = verifier.score([(problem, problem.answer), *((problem, text) for text in hostile), (problem, problem.answer)])
    assert [verdicts[0].reward, verdicts[-1].reward] == [1, 1]
    assert [text[:40] for text, verdict in zip(hostile, verdicts[1:-1], strict=True) if verdict.reward or verdict.correct] == []
    assert not any("timeout" in verdict.parts for verdict in verdicts)


@pytest.mark.parametrize("name", text_tasks())
def test_a_shipped_task_scores_its_own_answers_in_a_worker(name: str) -> None:
    task = registry.load("tasks", name)()
    items = [(problem, problem.answer) for problem in islice(task.problems("heldout", 0), 128)]
    with Verifier(task) as verifier:
        assert verifier.score(items) == [task.score(*item) for item in items]
