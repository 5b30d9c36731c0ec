"""The command that is printed for a run makes that very run."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.commands import train
from bench.config import Choice, RunSpec
from bench.errors import ConfigError
from bench.repeat import command
from bench.resolve import Request, resolve

ASKED = [
    Request(algorithm="grpo", task="last_digit", tier="tiny"),
    Request(algorithm="gspo", task="gsm8k", tier="tiny", seed=7, budget=4096, settings=("algo.clip_low=0.001", "train.prompts=8")),
    Request(algorithm="ppo", task="gsm8k", tier="tiny", settings=("algo.value_clip=none", "train.shared_trunk=true")),
    Request(algorithm="ppo", task="gsm8k", tier="tiny", reward="model", settings=("reward.prompts=128", "algo.kl=0.1")),
    Request(algorithm="dpo", task="countdown", tier="tiny", settings=("algo.sampling=iterative", "sampler.rows=64")),
    Request(algorithm="grpo", task="last_digit", tier="tiny", model="base:gsm8k"),
    Request(algorithm="grpo", task="last_digit", tier="tiny", budget=32, settings=("train.prompts=4", "train.minibatches=2")),
    Request(algorithm="ppo", task="cartpole", seed=3),
    Request(algorithm="sac", task="gym:MountainCarContinuous-v0", settings=("train.hidden=32|32", "train.buffer=5000")),
    Request(algorithm="cql", task="cartpole_logged", settings=("train.lr=0.001",)),
    Request(algorithm="dqn", task="CartPole-v1", budget=2000, settings=("task.autoreset=same_step",)),
]


def asked_for(line: str, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    """What the command line itself makes of it."""
    taken: list[RunSpec] = []
    monkeypatch.setattr(train, "_train", lambda specs, *_: taken.extend(specs()))
    app = typer.Typer()
    app.command()(train.run)
    app.command("other")(lambda: None)
    words = shlex.split(line)
    assert words[:2] == ["bench", "run"]
    done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (spec,) = taken
    return spec


@pytest.mark.parametrize("request_", ASKED, ids=lambda request: f"{request.algorithm}-{request.task}-{len(request.settings)}")
def test_the_printed_command_makes_the_same_run(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve(request_)
    held = json.loads(json.dumps(asdict(spec)))  # as spec.json gives it back
    assert asked_for(command(held, spec.run_id), monkeypatch).run_id == spec.run_id


def test_what_the_recipe_gives_is_left_out() -> None:
    spec = resolve(Request(algorithm="gspo", task="gsm8k", tier="tiny", seed=2, settings=("train.lr=0.002",)))
    line = command(asdict(spec), spec.run_id)
    assert line == f"bench run --algo gspo --task gsm8k --tier tiny --budget {spec.budget} --set train.lr=0.002 --seed 2"


def changed(spec: RunSpec, **new: Any) -> tuple[dict[str, Any], str]:
    other = replace(spec, **new)
    return asdict(other), other.run_id


def test_a_run_that_this_version_would_not_make_has_no_command() -> None:
    spec = resolve(Request(algorithm="grpo", task="last_digit", tier="tiny"))
    with pytest.raises(ConfigError, match="bit for bit"):
        command(*changed(spec, model=Choice("base:last_digit", {"digest": "0" * 12})))
    with pytest.raises(ConfigError, match="no algorithm called 'lost'"):
        command(*changed(spec, algorithm=Choice("lost")))
    with pytest.raises(ConfigError, match="no_such"):
        command(*changed(spec, algorithm=Choice("grpo", {"no_such": 1})))
    with pytest.raises(ConfigError, match="cannot be repeated here"):
        command({}, "0" * 12)
