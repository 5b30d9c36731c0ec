"""Runs that are broken off and taken up again, with everything that a rule may hold: the bytes of the run that never stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from runs import Interrupted, broken_off

from bench import reward_model
from bench.config import RunSpec
from bench.resolve import Request, resolve
from bench.run import execute
from bench.store import RunStore

SMALL = ("train.prompts=4", "train.completions=4", "train.eval_problems=8", "train.eval_completions=2", "train.warmup=6")
CHEAP = ("reward.prompts=8", "reward.measured=8", "reward.completions=4", "reward.epochs=1")  # 64 completions
SCRIPT = "sampler.texts=" + "|".join(f"#### {digit}" for digit in range(5))
ADAPTIVE = ("algo.kl=0.05", "algo.kl_estimator=k1", "algo.kl_target=0.001", "algo.kl_horizon=50")

CASES: dict[str, tuple[str, tuple[str, ...], set[str]]] = {
    "critic apart": ("ppo", (), {"model", "optimizer", "critic", "critic_optimizer"}),
    "critic on the policy": ("ppo", ("train.shared_trunk=true",), {"model", "optimizer"}),
    "stopped early": ("ppo", ("algo.target_kl=1e-4", "train.epochs=2"), {"model", "optimizer", "critic", "critic_optimizer"}),
    "stopped early, critic on the policy": (
        "ppo",
        ("algo.target_kl=1e-4", "train.epochs=2", "train.shared_trunk=true"),
        {"model", "optimizer"},
    ),
    "adaptive pull": ("ppo", ADAPTIVE, {"model", "optimizer", "critic", "critic_optimizer"}),
    "one step, critic apart": ("a2c", (), {"model", "optimizer", "critic", "critic_optimizer"}),
    "one step, critic on the policy": ("a2c", ("train.shared_trunk=true",), {"model", "optimizer"}),
    "demonstrations": ("ppo", ("train.ptx_coef=0.5",), {"model", "optimizer", "critic", "critic_optimizer"}),
    "pairs": ("dpo", (), {"model", "optimizer"}),
    "pairs in rounds": (
        "dpo",
        ("algo.sampling=iterative", "algo.every=2", "algo.reference_policy=sampling"),
        {"model", "optimizer", "sampling"},
    ),
    "pairs of the start": ("dpo", ("algo.sampling=offline",), {"model", "optimizer", "sampling"}),
    "pairs a model judges": ("dpo", CHEAP, {"model", "optimizer"}),
    "a script of answers": ("grpo", (SCRIPT,), {"model", "optimizer"}),
    "paid by a model": ("ppo", (*CHEAP, *ADAPTIVE), {"model", "optimizer", "critic", "critic_optimizer"}),
    "paid by a model, critic on the policy": ("ppo", (*CHEAP, "train.shared_trunk=true"), {"model", "optimizer"}),
}


def spec(algorithm: str, settings: tuple[str, ...], steps: int = 6) -> RunSpec:
    reward, cost = ("model", 64) if CHEAP[0] in settings else ("verifier", 0)
    sampler = "scripted" if SCRIPT in settings else "hf"
    asked: dict[str, Any] = {"sampler": sampler, "reward": reward, "budget": cost + 16 * steps, "settings": (*SMALL, *settings)}
    return resolve(Request(algorithm=algorithm, task="last_digit", tier="tiny", **asked))


def left(folder: Path) -> dict[str, Any]:
    """Everything that a finished run leaves and that no clock has a hand in."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in (folder / "curve.jsonl", folder / "samples.jsonl")}
    found |= {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.safetensors")}
    for path in folder.rglob("state.json"):
        state = json.loads(path.read_text())["state"]
        found[str(path.relative_to(folder))] = {k: v for k, v in state.items() if k not in ("seconds", "cpu_seconds")}
    return found


@pytest.fixture
def every_step_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.run.SAVE_SHARE", math.inf)


@pytest.mark.usefixtures("every_step_is_saved")
@pytest.mark.parametrize("name", CASES)
def test_a_run_broken_off_twice_ends_as_if_it_had_not_been(name: str, tmp_path: Path) -> None:
    """Once in the middle of a round of sampling, once after its renewal, each time a step beyond the newest checkpoint."""
    algorithm, settings, held = CASES[name]
    wanted, store = spec(algorithm, settings), RunStore(tmp_path / "broken")
    whole = execute(wanted, RunStore(tmp_path / "whole"), lambda record: None)
    for stop in (2, 4):
        broken_off(wanted, store, stop)
    again = execute(wanted, store, lambda record: None)
    assert left(again.folder) == left(whole.folder)
    assert again.warnings == []
    assert {path.stem for path in (again.folder / "checkpoint").glob("*/*.safetensors")} == held


@pytest.mark.usefixtures("every_step_is_saved")
def test_an_optimizer_that_has_not_stepped_is_taken_up_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.loops.updates._too_far", lambda *known: True)
    wanted, store = spec("ppo", ()), RunStore(tmp_path / "broken")
    whole = execute(wanted, RunStore(tmp_path / "whole"), lambda record: None)
    broken_off(wanted, store, 3)
    again = execute(wanted, store, lambda record: None)
    assert left(again.folder) == left(whole.folder)
    assert {path.stem for path in (again.folder / "checkpoint").glob("*/*.safetensors")} == {"model", "critic", "critic_optimizer"}


@pytest.mark.usefixtures("every_step_is_saved")
def test_the_cases_hold_what_they_are_there_for(tmp_path: Path) -> None:
    """Broken-off runs could agree because nothing happened: here it did."""
    pulled = execute(spec(*CASES["adaptive pull"][:2]), RunStore(tmp_path), lambda record: None).records
    assert len({r.probes["kl_ref/coefficient"] for r in pulled[1:]}) == 6
    stopped = execute(spec(*CASES["stopped early"][:2]), RunStore(tmp_path), lambda record: None).records
    assert 0 < sum(r.probes["update/stopped"] for r in stopped[1:]) < stopped[-1].updates


class Counted:
    """Counts how often a reward model is trained, and may break one training off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fits = self.broken = 0
        plain = reward_model._fit

        def fit(*arguments: Any) -> None:
            self.fits += 1
            plain(*arguments)
            if self.fits <= self.broken:
                raise Interrupted

        monkeypatch.setattr(reward_model, "_fit", fit)


@pytest.mark.parametrize("stops", [(0,), (0, 0, 1), (3,)])
def test_a_reward_model_is_trained_once(stops: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the run is broken off before its first checkpoint or later."""
    wanted, store = spec("ppo", CHEAP), RunStore(tmp_path / "broken")
    whole = execute(wanted, RunStore(tmp_path / "whole"), lambda record: None)
    counted = Counted(monkeypatch)
    for stop in stops:
        broken_off(wanted, store, stop)
    again = execute(wanted, store, lambda record: None)
    assert counted.fits == 1
    assert left(again.folder) == left(whole.folder)
    assert again.records[0].seconds >= json.loads(next(again.folder.glob("reward_model/0/state.json")).read_text())["state"]["seconds"]
    execute(wanted, store, lambda record: None)
    assert counted.fits == 1


def test_a_training_broken_off_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, store = spec("grpo", CHEAP), RunStore(tmp_path / "broken")
    whole = execute(wanted, RunStore(tmp_path / "whole"), lambda record: None)
    counted = Counted(monkeypatch)
    counted.broken = 1
    with pytest.raises(Interrupted):
        execute(wanted, store, lambda record: None)
    again = execute(wanted, store, lambda record: None)
    assert counted.fits == 2
    assert left(again.folder) == left(whole.folder)


def test_a_damaged_reward_model_is_made_again(tmp_path: Path) -> None:
    wanted, store = spec("grpo", CHEAP), RunStore(tmp_path / "broken")
    whole = execute(wanted, RunStore(tmp_path / "whole"), lambda record: None)
    broken_off(wanted, store, 3)
    (weights,) = tmp_path.glob("broken/*/*/*/reward_model/0/model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    again = execute(wanted, store, lambda record: None)
    assert left(again.folder) == left(whole.folder)
    (warning,) = again.warnings
    assert "reward_model/0 is damaged (model.safetensors does not match its checksum) and was removed; it is made again" in warning
    assert "earlier point" not in warning
