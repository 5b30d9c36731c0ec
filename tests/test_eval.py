"""`bench eval`: a checkpoint scored without training, under a protocol, interruptible without loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import policy
from typer.testing import CliRunner

from bench import evaluating
from bench.cli import app
from bench.errors import ConfigError, MissingError, StoreError
from bench.eval_plan import Asked, prepare
from bench.evaluated import Item, summary
from bench.evaluating import execute
from bench.resolve import Request, resolve
from bench.run import execute as train
from bench.samplers.hf import HF
from bench.samplers.scripted import Scripted
from bench.store import RunStore
from bench.trained import trained_policy

ASKED = Asked(model="base:last_digit", task="last_digit", tier="tiny", problems=12, completions=4)
QUICK = ("train.prompts=8", "train.completions=4", "train.eval_problems=4", "train.eval_completions=2", "train.eval_points=1")


def quiet(*_: Any) -> None:
    return None


def scored(asked: Asked, path: Path) -> dict[str, Any]:
    return execute(prepare(asked), path, quiet)


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_greedy_takes_the_likeliest_token_at_every_place(family: str) -> None:
    subject = policy(family)
    prompts = [subject.encode(text) for text in ("1+2=", "7", "(3+4)*5-6=", "12;")]
    found = HF(rows=3).open(subject).greedy(prompts, 12)
    for prompt, completion in zip(prompts, found, strict=True):
        tokens = list(completion.tokens)
        with torch.no_grad():
            logits = subject.model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
        assert tokens == logits.argmax(-1).tolist()
        own = torch.log_softmax(logits, -1).max(-1).values
        assert torch.allclose(torch.tensor(completion.logp), own, atol=1e-5)
        assert completion.truncated == (tokens[-1] != subject.end) and len(tokens) <= 12


def test_a_sampler_without_greedy_decoding_says_so() -> None:
    with pytest.raises(ConfigError, match="ScriptedSession cannot decode greedily; choose a sampler that can, such as hf"):
        Scripted().open(policy()).greedy([[3]], 4)


def test_scores_are_those_of_its_items(tmp_path: Path) -> None:
    report = scored(ASKED, tmp_path / "a.json")
    assert report == json.loads((tmp_path / "a.json").read_text())
    items, scores = report["items"], report["scores"]
    assert len(items) == 12 and all(len(item["strict"]) == len(item["tokens"]) == 4 for item in items)
    assert scores["strict"]["value"] == pytest.approx(sum(sum(item["strict"]) for item in items) / 48)
    assert 0 < scores["strict"]["low"] < scores["strict"]["value"] < scores["strict"]["high"] < 1
    assert scores["pass@4"]["value"] == pytest.approx(sum(any(item["strict"]) for item in items) / 12)
    assert scores["tokens"] == sum(sum(item["tokens"]) for item in items) == scores["length"] * 48
    assert report["protocol"] is None and report["provenance"]["packages"]["torch"] and report["loaded"]["parameters"] > 0
    assert not (tmp_path / "a.json.part").exists()


def test_the_summary_counts_what_failed_and_what_was_cut() -> None:
    items = [Item("a", [1, 0], [1, 1], [0, 1], [3, 5], [False, True], ""), Item("b", [0, 0], [0, 0], [0, 0], [4, 4], [True, True], "")]
    found = summary(items)
    assert [found[name] for name in ("truncated", "errors", "length", "problems", "completions", "tokens")] == [0.75, 0.25, 4, 2, 2, 16]
    assert [found[name]["value"] for name in ("strict", "lenient", "pass@2")] == [0.25, 0.5, 0.5]


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating, "CHUNK", 16)  # 4 problems
    whole = scored(ASKED, tmp_path / "whole.json")

    def stop(done: int, total: int, score: float) -> None:
        assert (done, total) == (4, 12) and score == sum(sum(item["strict"]) for item in whole["items"][:4]) / 16
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(prepare(ASKED), tmp_path / "a.json", stop)
    part = tmp_path / "a.json.part"
    part.write_bytes(part.read_bytes() + b'{"items": [{"id"')  # torn by a crash
    seen: list[int] = []
    report = execute(prepare(ASKED), tmp_path / "a.json", lambda done, *_: seen.append(done))
    assert seen == [8, 12]
    assert {k: v for k, v in report.items() if k not in ("seconds", "provenance")} == {
        k: v for k, v in whole.items() if k not in ("seconds", "provenance")
    }
    assert scored(ASKED, tmp_path / "a.json") == report  # finished: read, not made again


def test_another_evaluations_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    scored(ASKED, path)
    with pytest.raises(StoreError, match="holds something else; choose another --out"):
        scored(replace(ASKED, seed=1), path)
    path.rename(tmp_path / "b.json")
    (tmp_path / "a.json.part").write_text('{"plan": {}}\n')
    with pytest.raises(StoreError, match="left of another evaluation"):
        scored(ASKED, path)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"limit": 3}, {"problems": 11}, {"completions": 2}, {"greedy": True, "completions": 0}, {"split": "tune"}]
)
def test_what_changes_the_outcome_changes_the_name(change: dict[str, Any]) -> None:
    assert prepare(replace(ASKED, **change)).plan.id != prepare(ASKED).plan.id == prepare(ASKED).plan.id


def test_what_deviates_from_the_protocol_is_said() -> None:
    usual = Asked(model="base:gsm8k", task="countdown", tier="full")
    plan = prepare(usual).plan
    assert plan.protocol is not None and (plan.protocol["name"], plan.deviations) == ("countdown/1", ())
    assert (plan.problems, plan.completions, plan.limit) == (500, 4, 1024)
    other = replace(usual, greedy=True, limit=9, problems=7, split="tune", settings=("task.numbers=3", "model.chat=off"))
    assert prepare(other).plan.deviations == (
        "the tune split",
        "7 problems, not 500",
        "greedy decoding, not temperature 1 from the whole distribution",
        "9 tokens, not 1024",
        "task.numbers=3",
        "model.chat=off",
    )
    folder = prepare(Asked(model="base:gsm8k", task="gsm8k", tier="full", completions=1, settings=("task.data=here",))).plan
    assert folder.deviations == ("1 completions a problem, not 4", "task.data=here")
    assert prepare(Asked(model="base:gsm8k", task="rg:leg_counting")).plan.deviations == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "cartpole"}, "cartpole is no text task"),
        ({"task": "last_digt"}, "Did you mean 'last_digit'"),
        ({"split": "train"}, "no split to score called 'train'"),
        ({"limit": -1}, "--limit is -1; it must be 0 or more"),
        ({"greedy": True}, "--greedy gives one completion of a problem, and --completions is 4"),
        ({"settings": ("train.lr=1",)}, "no part to set in an evaluation called 'train'"),
        ({"settings": ("sampler.rowz=1",)}, "no setting of sampler called 'rowz'"),
    ],
)
def test_what_cannot_be_is_said_before_a_model_is_loaded(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(replace(ASKED, **change))


def test_a_trained_runs_weights_are_scored(tmp_path: Path) -> None:
    spec = resolve(Request(algorithm="ppo", task="last_digit", tier="tiny", budget=64, settings=(*QUICK, "train.shared_trunk=true")))
    folder = train(spec, RunStore(tmp_path), quiet).folder
    asked = replace(ASKED, model=str(folder))
    work = prepare(asked)
    assert work.plan.model.name == f"run {spec.run_id}" and work.plan.model.settings["start"] == "base:last_digit"
    moved = trained_policy(work.spec, work.checkpoint).tensors()
    held = work.checkpoint.tensors("model") if work.checkpoint else {}
    assert held.keys() - moved.keys() == {"value_head.weight", "value_head.bias"}
    assert all(torch.equal(tensor, held[name]) for name, tensor in moved.items())
    assert scored(asked, tmp_path / "a.json")["items"] != scored(ASKED, tmp_path / "b.json")["items"]
    with pytest.raises(ConfigError, match="loaded as it was trained"):
        prepare(replace(asked, settings=("model.chat=off",)))
    for path in (folder / "checkpoint").rglob("model.safetensors"):
        path.unlink()
    with pytest.raises(MissingError, match=r"no complete checkpoint \(no model\.safetensors\)"):
        prepare(asked)


def test_the_command_prints_what_a_reader_needs(tmp_path: Path) -> None:
    words = ["eval", "--model", "base:gsm8k", "--task", "countdown", "--tier", "full", "--problems", "3", "--completions", "2"]
    words += ["--limit", "6", "--results", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "evaluations" / "countdown-full").glob("*.json")
    for line in (
        "3 problems of heldout, 2 completions each, temperature 1, at most 6 tokens, seed 0",
        "strict     0.000  (0.000 to 0.",
        "protocol: countdown/1, digest ",
        "deviates from it: 3 problems, not 500; 2 completions a problem, not 4; 6 tokens, not 1024",
        f"written to {path}",
    ):
        assert line in done.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert told["id"] == path.stem and told["file"] == str(path) and "items" not in told
    assert RunStore(tmp_path).runs() == []


def test_a_stopped_command_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluating, "execute", interrupted)
    done = CliRunner().invoke(
        app, ["eval", "--model", "base:last_digit", "--task", "last_digit", "--tier", "tiny", "--results", str(tmp_path)]
    )
    assert done.exit_code == 130 and "the same command continues" in done.output
