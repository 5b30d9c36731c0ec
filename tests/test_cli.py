"""The command line as a newcomer and a script meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bench.cli import app, main
from bench.errors import BenchError

HOME = Path(__file__).resolve().parents[1]
QUICK = ["--budget", "32", "--set", "train.prompts=4", "--set", "train.completions=4", "--set", "train.eval_problems=4"]
QUICK += ["--set", "train.eval_completions=2", "--set", "train.eval_points=1"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own."""
    ready = {**os.environ, "PYTHONPATH": str(HOME), **environment}
    return subprocess.run([sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, env=ready, check=False)


def test_help_loads_nothing_heavy() -> None:
    heavy = "torch", "transformers", "pandas", "numpy", "matplotlib", "rich.console", "tasks", "algorithms"
    code = (
        f"import sys, bench.cli; sys.argv = ['bench', '--help']\ntry: bench.cli.app()\nexcept SystemExit: pass\n"
        f"found = [m for m in {heavy!r} if m in sys.modules]; assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(HOME)})


def test_a_run_shows_its_way_and_leaves_a_picture(tmp_path: Path) -> None:
    result = run("run", "--algo", "gspo", "--task", "last_digit", "--tier", "tiny", "--results", str(tmp_path), *QUICK)
    assert result.exit_code == 0, result.output
    assert "held-out score (pass@1)" in result.output
    (picture,) = tmp_path.glob("last_digit-tiny/gspo/*/curve.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    listed = run("ls", "runs", "--results", str(tmp_path), "--json")
    (line,) = map(json.loads, listed.output.splitlines())
    assert (line["state"], line["last"]["samples"]) == ("finished", 32)
    resumed = run("resume", line["run_id"][:5], "--results", str(tmp_path), "--json")
    assert resumed.exit_code == 0, resumed.output


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    done = script("run", "--algo", "grpo", "--task", "last_digit", "--results", str(tmp_path), "--json", *QUICK)
    assert done.returncode == 0, done.stderr
    *records, last = map(json.loads, done.stdout.splitlines())
    assert [record["samples"] for record in records] == [0, 16, 32]
    assert last["score"] == records[-1]["eval_score"]
    assert "tiny tier" in done.stderr


SMALL = ("train.hidden=8", "train.learning_starts=20", "train.train_every=4", "train.gradient_steps=1", "train.eval_episodes=2")
SEEDS = ["run", "--algo", "dqn", "--task", "cartpole", "--seeds", "0..2", "--budget", "120"]
SEEDS += [part for setting in (*SMALL, "train.eval_points=2", "train.records=2") for part in ("--set", setting)]


def test_several_seeds_show_what_they_have_in_common_and_leave_a_folder_each(tmp_path: Path) -> None:
    result = run(*SEEDS, "--results", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "dqn on cartpole, 120 environment steps, seeds 0, 1, 2" in result.output
    assert "range at the end" in result.output and "return, deterministic" in result.output
    assert "120 environment steps, 25 updates in " in result.output and "CPU-seconds a seed" in result.output
    folders = sorted(tmp_path.glob("cartpole/dqn/*"))
    assert len(folders) == 3 and all((folder / "curve.png").read_bytes().startswith(b"\x89PNG") for folder in folders)
    assert sorted(json.loads((folder / "spec.json").read_text())["spec"]["seed"] for folder in folders) == [0, 1, 2]
    listed = [json.loads(line) for line in run("ls", "runs", "--results", str(tmp_path), "--json").output.splitlines()]
    assert [(line["folder"], line["state"], line["last"]["samples"]) for line in listed] == [(str(f), "finished", 120) for f in folders]
    shown = run("ls", "runs", "--results", str(tmp_path)).output
    assert all(folder.name in shown for folder in folders) and shown.count("finished") == 3
    resumed = run("resume", folders[0].name, "--results", str(tmp_path))
    assert resumed.exit_code == 0 and "range at the end" not in resumed.output


def test_json_of_several_seeds_says_whose_each_line_is(tmp_path: Path) -> None:
    done = script(*SEEDS, "--results", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    records, ends = lines[:-3], lines[-3:]
    for seed in range(3):
        assert [line["samples"] for line in records if line["seed"] == seed] == [0, 60, 120]
        (end,) = (end for end in ends if json.loads((Path(end["folder"]) / "spec.json").read_text())["spec"]["seed"] == seed)
        assert end["score"] == [line for line in records if line["seed"] == seed][-1]["eval_score"]
    again = script(*SEEDS, "--results", str(tmp_path), "--json")
    repeated = [json.loads(line) for line in again.stdout.splitlines()]
    assert repeated[-3:] == ends and repeated[:-3] == sorted(records, key=lambda line: line["step"])


def test_the_scripted_sampler_runs_the_whole_path(tmp_path: Path) -> None:
    """Sampler and task agree through files: every completion is what the script says, and the verifier's verdict follows."""
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"completions": ["#### 1", "#### 2"]}\n')
    options = ["--sampler", "scripted", "--set", f"sampler.answers={answers}", "--results", str(tmp_path / "r")]
    result = run("run", "--algo", "reinforce", "--task", "last_digit", "--tier", "tiny", *options, *QUICK)
    assert result.exit_code == 0, result.output
    (samples,) = (tmp_path / "r").glob("*/*/*/samples.jsonl")
    shown = [json.loads(line) for line in samples.read_text().splitlines()]
    assert {s["text"] for s in shown} <= {"#### 1", "#### 2"}
    assert all(s["correct"] == (s["text"][-1] == s["prompt"].strip()[-1]) for s in shown)


BAD = [
    (["--algo", "gsop", "--task", "gsm8k"], "no algorithm called 'gsop'. Did you mean 'gspo'? Known: a2c, bc, cispo, "),
    (["--algo", "gspo", "--task", "gms8k"], "no task called 'gms8k'. Did you mean 'gsm8k'?"),
    (["--algo", "gspo", "--task", "gsm8k", "--sampler", "hff"], "no sampler called 'hff'. Did you mean 'hf'?"),
    (["--algo", "gspo", "--task", "gsm8k", "--tier", "tinny"], "no tier called 'tinny'. Did you mean 'tiny'?"),
    (["--algo", "gspo", "--task", "chain_sum", "--tier", "full"], "task 'chain_sum' has no tier 'full'; it has tiny"),
    (["--algo", "gspo", "--task", "gsm8k", "--tier", "full"], "the full tier needs --model"),
    (["--algo", "gspo", "--task", "gsm8k", "--set", "algo.clip_lo=1"], "no setting of algo called 'clip_lo'. Did you mean 'clip_low'?"),
    (["--algo", "gspo", "--task", "gsm8k", "--set", "algo.clip_low=wide"], "algo.clip_low is 'wide'; it takes a value of type float"),
    (["--algo", "gspo", "--task", "gsm8k", "--set", "train.epochs=1.5"], "train.epochs is '1.5'; it takes a value of type int"),
    (["--algo", "gspo", "--task", "gsm8k", "--set", "clip_low=1"], "--set takes PART.NAME=VALUE"),
    (["--algo", "gspo", "--task", "gsm8k", "--set", "loop.x=1"], "no part to set called 'loop'"),
    (["--algo", "gspo", "--task", "gsm8k", "--set", "train.lr=-1"], "train.lr is -1.0; it must be greater than 0"),
    (["--algo", "gspo", "--task", "gsm8k", "--set", "train.completions=1"], "set 2 or more"),
    (["--algo", "gspo", "--task", "chain_sum", "--set", "task.terms=0"], "task: terms is 0; it must be between 2 and 50"),
    (["--algo", "gspo", "--task", "last_digit", "--set", "task.digits=-1"], "task: digits is -1; it must be between 1 and 100"),
    (["--algo", "gspo", "--task", "gsm8k", "--budget", "5"], "less than one rollout batch of 128"),
    (["--algo", "gspo", "--task", "gsm8k", "--seed", "-1"], "the seed is -1"),
    (["--algo", "reinforce", "--task", "gsm8k", "--set", "algo.baseline=mean"], "choose one of none, batch_loo, group_loo, ema, whiten"),
    (
        ["--algo", "gspo", "--task", "gsm8k", "--tier", "full", "--model", str(HOME / "tasks/bases/gsm8k"), "--set", "task.data=/no/such"],
        "/no/such",
    ),
    (["--algo", "gspo", "--task", "gsm8k", "--model", "/no/such/folder"], "no causal language model at '/no/such/folder'"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=[says[:40] for _, says in BAD])
def test_bad_input_is_one_sentence_before_anything_is_made(arguments: list[str], says: str, tmp_path: Path) -> None:
    result = (
        run("run", *arguments, "--tier", "tiny", "--results", str(tmp_path / "r"))
        if "--tier" not in arguments
        else run("run", *arguments, "--results", str(tmp_path / "r"))
    )
    assert isinstance(result.exception, BenchError), result.exception
    assert says in str(result.exception)
    assert not (tmp_path / "r").exists()


def test_the_exit_code_of_a_user_s_mistake_is_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "run", "--algo", "gsop", "--task", "gsm8k"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("bench: no algorithm called 'gsop'.")


def test_an_unwritable_results_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("run", "--algo", "gspo", "--task", "last_digit", "--tier", "tiny", "--results", str(tmp_path / "file"))
    assert isinstance(result.exception, BenchError)
    assert "is not a folder; choose another results folder" in str(result.exception)


@pytest.mark.parametrize("kind", ["algorithms", "tasks", "metrics", "samplers"])
def test_ls_lists_every_plug_in_with_what_it_does(kind: str) -> None:
    entries = [json.loads(line) for line in run("ls", kind, "--json").output.splitlines()]
    assert entries
    assert all(entry["about"].endswith((".", ")")) and entry["error"] is None for entry in entries), entries


def test_the_readme_holds_the_printed_tables() -> None:
    readme = (HOME / "README.md").read_text()
    for kind in ("algorithms", "tasks"):
        assert run("ls", kind, "--markdown").output in readme


def test_check_prints_every_contract_and_fails_on_unknown_names() -> None:
    outcomes = [json.loads(line) for line in run("check", "grpo", "--json").output.splitlines()]
    assert len(outcomes) > 8
    assert all(outcome["passed"] for outcome in outcomes)
    assert "no plug-in called 'grop'. Did you mean 'grpo'?" in str(run("check", "grop").exception)


def test_doctor_always_answers() -> None:
    result = run("doctor", "--json")
    assert result.exit_code == 0, result.output
    found = {finding["name"]: finding for finding in map(json.loads, result.output.splitlines())}
    assert any("torch" in name for name in found)


def test_pretrain_makes_a_base_that_a_run_can_start_from(tmp_path: Path) -> None:
    out = tmp_path / "base"
    made = run("pretrain", "last_digit", "--out", str(out), "--set", "pretrain.steps=5")
    assert made.exit_code == 0, made.output
    about = json.loads((out / "base.json").read_text())
    assert about["command"] == "bench pretrain last_digit --seed 0 --set pretrain.steps=5"
    again = run("pretrain", "last_digit", "--out", str(tmp_path / "again"), "--set", "pretrain.steps=5")
    assert again.exit_code == 0
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "again" / "model.safetensors").read_bytes()
    started = run(
        "run", "--algo", "gspo", "--task", "last_digit", "--tier", "tiny", "--model", str(out), "--results", str(tmp_path / "r"), *QUICK
    )
    assert started.exit_code == 0, started.output
    assert "is not empty" in str(run("pretrain", "last_digit", "--out", str(out)).exception)


def test_shipped_bases_are_small_and_say_how_they_were_made() -> None:
    folders = [path for path in (HOME / "tasks" / "bases").iterdir() if path.is_dir() and not path.name.startswith(".")]
    assert {folder.name for folder in folders} >= {"gsm8k", "countdown", "chain_sum", "last_digit"}
    for folder in folders:
        assert sum(path.stat().st_size for path in folder.iterdir()) < 3e6
        about = json.loads((folder / "base.json").read_text())
        assert about["command"].startswith(f"bench pretrain {folder.name}")
        assert 0.25 <= about["scores"]["eval/pass@1"] <= 0.45, folder.name
        assert about["scores"]["eval/pass@8"] >= 0.75, folder.name
        config = json.loads((folder / "config.json").read_text())
        assert (config["architectures"], config["head_dim"]) == (["Qwen3ForCausalLM"], 32)
