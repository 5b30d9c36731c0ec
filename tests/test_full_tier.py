"""The path of real checkpoints and real data, on the CPU: every rule, full training and adapters, with a small model of a real shape."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from algorithms.value import ValueRule
from bench import registry, reward_model
from bench.cli import app
from bench.config import RewardSettings, RunSpec
from bench.errors import ConfigError, StoreError
from bench.eval_plan import trained_run
from bench.models import BASES
from bench.policy import Policy
from bench.record import Record
from bench.resolve import Request, resolve
from bench.rollout import collect
from bench.run import execute
from bench.samplers.hf import HF
from bench.store import RunStore
from bench.trained import save, trained_policy
from bench.verifying import Verifier
from benchmarks.small_checkpoint import checkpoint

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the GSM8K data set is not at {DATA}")
ON_TEXT = [n for n in registry.names("algorithms") if not issubclass(registry.load("algorithms", n), ValueRule)]
SMALL = (
    "train.prompts=4",
    "train.completions=4",
    "train.limit=8",
    "train.eval_problems=4",
    "train.eval_completions=2",
    "train.eval_points=1",
)
QUESTION = "Natalia sold clips to {} of her friends in April, and then she sold half as many clips in May. How many did she sell?"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the form of the data set, for what needs no more than the form."""
    folder = tmp_path_factory.mktemp("gsm8k")
    for name, numbers in (("train", range(100, 200)), ("test", range(300, 340))):
        rows = [{"question": QUESTION.format(2 * i), "answer": f"{2 * i}+{i}=<<{3 * i}>>\n#### {3 * i}"} for i in numbers]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shown(data, tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def real_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shown(DATA, tmp_path_factory.mktemp("models") / "real")


def shown(data: Path, folder: Path) -> Path:
    """A model that is sometimes right about the first problems that a run of seed 0 draws."""
    torch.set_num_threads(1)
    task = registry.load("tasks", "gsm8k")(tier="full", data=str(data))
    return checkpoint(folder, list(islice(task.problems("train", 0), 8)))


def spec(algorithm: str, model: Path, data: Path, *settings: str, sampler: str = "hf", budget: int = 32) -> RunSpec:
    """Two rollout batches."""
    given = (f"task.data={data}", *SMALL, *settings)
    return resolve(
        Request(algorithm=algorithm, task="gsm8k", tier="full", model=str(model), sampler=sampler, budget=budget, settings=given)
    )


def records(of: RunSpec, root: Path) -> list[Record]:
    return execute(of, RunStore(root, reserve=0), lambda record: None).records


@pytest.mark.parametrize("weights", ["full", "lora"])
@pytest.mark.parametrize("algorithm", ON_TEXT)
@needs_data
def test_two_steps_of_every_rule_on_real_data(algorithm: str, weights: str, real_model: Path, tmp_path: Path) -> None:
    """Right and wrong completions, a gradient where a rule learns, and log-probabilities of the sampler that are the trainer's."""
    of = spec(algorithm, real_model, DATA, *(["model.lora_rank=2"] if weights == "lora" else []))
    found = records(of, tmp_path)
    assert [record.step for record in found] == [0, 1, 2] or algorithm == "dapo"
    assert found[-1].samples >= 32 and found[0].eval_score is not None
    assert all(0 < r.train_score < 1 for r in found[1:])
    learns = registry.load("algorithms", algorithm)().learns
    assert any(r.probes.get("grad/norm", 0) > 0 for r in found) == learns
    gaps = [r.probes["rollout/logp_gap_max"] for r in found if "rollout/logp_gap_max" in r.probes]
    assert max(gaps, default=0.0) < 1e-4 and (bool(gaps) or algorithm == "dpo")


def test_what_bounds_memory_changes_no_number(model: Path, data: Path, tmp_path: Path) -> None:
    """Tokens per pass, recomputed layers and chunks of the vocabulary, against the plain run."""
    plain = records(spec("gspo", model, data, "train.microbatch_tokens=0"), tmp_path)
    bounded = records(spec("gspo", model, data, "train.microbatch_tokens=256", "model.gradient_checkpointing=true"), tmp_path)
    for one, other in zip(plain, bounded, strict=True):
        assert one.probes.keys() == other.probes.keys()
        assert one.probes == pytest.approx(other.probes, abs=2e-4, rel=2e-3)


def test_pairs_are_bounded_too(model: Path, data: Path, tmp_path: Path) -> None:
    plain, bounded = (records(spec("dpo", model, data, f"train.microbatch_tokens={n}"), tmp_path) for n in (0, 200))
    assert [r.probes for r in bounded] == [pytest.approx(r.probes, abs=2e-4, rel=2e-3) for r in plain]


@pytest.mark.parametrize("weights", ["full", "lora"])
def test_a_run_goes_on_from_its_checkpoint(model: Path, data: Path, weights: str, tmp_path: Path) -> None:
    """Adapters and 8-bit states among them."""
    more = ["model.lora_rank=2", "train.optimizer=adamw_8bit"] if weights == "lora" else ["train.optimizer=adamw_8bit"]
    of = spec("ppo", model, data, *more, budget=64)
    whole = records(of, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(record: Record) -> None:
        if record.step == 2:
            raise Stop

    with pytest.raises(Stop):
        execute(of, RunStore(tmp_path / "cut", reserve=0), stop)
    saved = list((tmp_path / "cut").rglob("checkpoint/*/model.safetensors"))
    assert len(saved) == 1 and (saved[0].stat().st_size < 100_000) == (weights == "lora")
    again = records(of, tmp_path / "cut")
    assert [r.probes for r in again] == [r.probes for r in whole]


def test_mixed_arithmetic_trains_and_says_how_far_the_sampler_is(model: Path, data: Path, tmp_path: Path) -> None:
    pairs = records(spec("dpo", model, data, "model.dtype=mixed"), tmp_path)
    assert all(0 <= r.probes["rollout/logp_gap_max"] < 0.3 for r in pairs[1:])
    found = records(spec("grpo", model, data, "model.dtype=mixed", "train.tis_cap=2"), tmp_path)
    for record in found[1:]:
        assert 0 <= record.probes["rollout/logp_gap_mean"] <= record.probes["rollout/logp_gap_max"] < 0.3
        assert abs(record.probes["rollout/tis_mean"] - 1) < 0.1 and record.probes["rollout/tis_capped_frac"] == 0


@pytest.mark.parametrize(
    ("algorithm", "settings", "message"),
    [
        ("grpo", ["train.tis_cap=2"], r"train\.tis_cap is 2, but the log-probabilities of sampler hf are the trainer's own"),
        ("dpo", ["train.tis_cap=2", "model.dtype=mixed"], r"train\.tis_cap is 2, but dpo learns from pairs"),
        ("grpo", ["train.tis_cap=-1"], r"train\.tis_cap is -1\.0; it must be 0 or more"),
        ("grpo", ["train.microbatch=2", "train.microbatch_tokens=64"], "bounded by rows or by tokens"),
        ("grpo", ["train.optimizer=sgd"], r"train\.optimizer is 'sgd'; choose one of adamw, adamw_8bit, paged_adamw_8bit"),
        ("grpo", ["model.dtype=float16"], r"model\.dtype is 'float16'; choose one of float32, mixed, bfloat16"),
        ("grpo", ["model.lora_rnak=2"], "lora_rank"),
        ("grpo", ["model.revision=main"], "is a folder, which has none"),
    ],
)
def test_settings_that_cannot_work_are_refused(algorithm: str, settings: list[str], message: str, model: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        spec(algorithm, model, data, "train.microbatch_tokens=0", *settings)


@pytest.mark.parametrize(
    ("settings", "module", "extra"), [("model.lora_rank=2", "peft", "lora"), ("train.optimizer=adamw_8bit", "bitsandbytes", "optim")]
)
def test_a_package_that_is_missing_is_named_before_anything_is_loaded(
    settings: str, module: str, extra: str, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.resolve_text.find_spec", lambda name: None if name == module else object())
    with pytest.raises(Exception, match=rf"needs {module}: pip install \"rl-bench-suite\[{extra}\]\""):
        spec("grpo", model, data, settings)


def test_adapters_start_from_a_rate_of_their_own(model: Path, data: Path) -> None:
    full, lora = (spec("grpo", model, data, *more).train for more in ([], ["model.lora_rank=2"]))
    assert (vars(full)["lr"], vars(lora)["lr"]) == (1e-6, 1e-5)


def test_a_gpu_is_used_in_bfloat16(model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.models.gpu", lambda: True)
    full, lora, plain = (spec("grpo", model, data, *more).model.settings for more in ([], ["model.lora_rank=2"], ["model.dtype=float32"]))
    assert (full["dtype"], lora["dtype"], plain.get("dtype")) == ("mixed", "bfloat16", None)


def test_settings_at_their_defaults_leave_the_name_of_a_run_alone(model: Path, data: Path) -> None:
    """What was added after results were published."""
    plain = spec("grpo", model, data, "train.microbatch_tokens=0")
    written: dict[str, Any] = plain.to_json()
    assert "tis_cap" not in written["train"] and "optimizer" not in written["train"] and written["model"]["settings"].keys() == {"digest"}
    assert spec("grpo", model, data, "train.microbatch_tokens=0", "model.chat=auto", "train.optimizer=adamw").run_id == plain.run_id
    other = spec("grpo", model, data, "train.microbatch_tokens=0", "train.optimizer=adamw_8bit")
    assert other.run_id != plain.run_id and RunSpec.from_json(json.loads(json.dumps(other.to_json()))) == other


def test_a_reward_model_is_bounded_by_tokens_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same gradients, from passes that hold a few rows each."""
    policy, found = Policy.load(BASES / "last_digit"), []
    task = registry.load("tasks", "last_digit")()
    with Verifier(task) as verifier:
        groups = collect(policy, HF().open(policy), verifier, list(islice(task.problems("train", 0), 6)), 8, 4, "a")
    for bound in (0, 40):
        model, rows_of = policy.copy().with_values(), []
        monkeypatch.setattr(Policy, "scores", counted(rows_of, Policy.scores))
        reward_model._backward(model, groups, RewardSettings(microbatch_tokens=bound))
        monkeypatch.undo()
        found.append([p.grad for p in model.parameters()])
        assert len(rows_of) == 1 if not bound else max(rows_of[1:]) < sum(rows_of[1:]) == 48
    assert sum(float(g.abs().sum()) for g in found[0] if g is not None) > 0
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def counted(into: list[int], scores: Any) -> Any:
    def call(self: Policy, prompts: Any, completions: Any) -> Any:
        into.append(len(prompts))
        return scores(self, prompts, completions)

    return call


def test_a_hub_id_comes_from_the_cache_at_its_revision(model: Path, data: Path, tmp_path: Path) -> None:
    """The layout that the hub's own client leaves, without a network; what was loaded is told beside the specification."""
    commit, home = "0123456789abcdef0123456789abcdef01234567", tmp_path / "hub"
    snapshot = home / "models--someone--small" / "snapshots" / commit
    shutil.copytree(model, snapshot)
    (home / "models--someone--small" / "refs").mkdir()
    (home / "models--someone--small" / "refs" / "main").write_text(commit)
    given = [f"task.data={data}", *SMALL, "model.revision=main"]
    command = [sys.executable, "-m", "bench", "run", "--algo", "grpo", "--task", "gsm8k", "--tier", "full", "--model", "someone/small"]
    command += ["--budget", "16", "--results", str(tmp_path / "results"), *(word for pair in given for word in ("--set", pair))]
    environment = os.environ | {"HF_HUB_CACHE": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (held,) = (json.loads(path.read_text()) for path in (tmp_path / "results").rglob("spec.json"))
    assert held["spec"]["model"] == {"name": "someone/small", "settings": {"revision": "main"}}
    assert held["provenance"]["model"]["commit"] == commit and held["provenance"]["model"]["attention"] == "sdpa"


@pytest.mark.parametrize("weights", ["full", "lora"])
def test_what_a_run_came_to_is_a_checkpoint_again(weights: str, model: Path, data: Path, tmp_path: Path) -> None:
    """Saved, it scores as the run ended: the same completions of the same problems."""
    more = ["model.lora_rank=2", "train.lr=0.01"] if weights == "lora" else ["train.lr=0.001"]
    of = spec("ppo", model, data, *more, "train.shared_trunk=true", "train.warmup=0")
    execute(of, store := RunStore(tmp_path / "results", reserve=0), lambda record: None)
    run = store.folder(of)
    made = CliRunner().invoke(app, ["save", of.run_id[:6], str(tmp_path / "made"), "--results", str(tmp_path / "results")])
    assert made.exit_code == 0 and "step 2" in made.output
    trained, again, start = trained_policy(of, trained_run(str(run))[1]), Policy.load(tmp_path / "made"), Policy.load(model)
    prompts, answers = [start.encode("How many?"), start.encode("And then?")], [start.plain("12 #### 3"), start.plain("7")]
    with torch.no_grad():
        logp = [policy.forward(prompts, answers).logp for policy in (trained, again, start)]
    torch.testing.assert_close(logp[0], logp[1], atol=1e-5, rtol=0)
    assert (logp[1] - logp[2]).abs().max() > 1e-3
    with pytest.raises(StoreError, match="holds something; choose another folder"):
        save(run, tmp_path / "made")
    with pytest.raises(ConfigError, match="is no run's folder"):
        save(tmp_path, tmp_path / "other")
