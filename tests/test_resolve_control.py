"""What is asked of runs on Gymnasium and on logs: what cannot work is refused in one sentence, before anything is made."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from control_runs import SMALL, trained
from typer.testing import CliRunner

from bench.cli import app
from bench.config import RunSpec
from bench.control_settings import EpisodeSettings, LogSettings, ReplaySettings, SegmentSettings
from bench.errors import BenchError, ConfigError, MissingError
from bench.resolve import Request, read_seeds, resolve

QUICK = [part for one in (*SMALL, "train.learning_starts=10", "train.train_every=4", "train.batch=8") for part in ("--set", one)]


def command(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["run", *arguments])


BAD: list[tuple[str, str, list[str], str]] = [
    ("dqn", "gym:CartPol-v1", [], "Gymnasium cannot make 'CartPol-v1'"),
    ("dqn", "gym:CartPol-v1", [], "Did you mean: `CartPole`?"),
    ("dqn", "gim:CartPole-v1", [], "no task called 'gim:CartPole-v1'"),
    ("dqn", "cartpol", [], "no task called 'cartpol'. Did you mean 'cartpole'?"),
    ("dqn", "pendulum", [], "dqn cannot learn pendulum: dqn"),
    ("dqn", "pendulum_logged", [], "dqn cannot learn pendulum_logged"),
    ("dpo", "cartpole", [], "dpo needs a verifier's verdicts on texts, and cartpole has none; choose another algorithm or a text task"),
    ("sft_on_correct", "cartpole", [], "sft_on_correct needs a verifier's verdicts on texts"),
    ("dqn", "gsm8k", [], "dqn learns from single transitions, and gsm8k is text; choose a task on Gymnasium, such as cartpole"),
    ("sac", "last_digit", [], "sac learns from single transitions, and last_digit is text"),
    ("cql", "cartpole", [], "cql learns from a fixed log, and cartpole is a world to act in; choose one of cartpole_logged, minari, "),
    ("bc", "pendulum", [], "bc learns from a fixed log, and pendulum is a world to act in"),
    ("ppo", "cartpole_logged", [], "ppo learns from what it does itself, and cartpole_logged is a fixed log; choose cql, dqn, sac or bc"),
    ("ppo", "cartpole", ["--model", "/some/model"], "--model is for text, and cartpole is no text task; leave it out"),
    ("ppo", "cartpole", ["--sampler", "vllm"], "--sampler is for text, and cartpole is no text task; leave it out"),
    ("ppo", "cartpole", ["--tier", "tiny"], "--tier is for text, and cartpole is no text task; leave it out"),
    ("ppo", "cartpole", ["--reward", "model"], "--reward is for text, and cartpole is no text task; leave it out"),
    ("ppo", "cartpole", ["--set", "sampler.texts=a"], "sampler.texts is for text; cartpole has no sampler to set"),
    ("ppo", "cartpole", ["--set", "reward.prompts=8"], "reward.prompts is for text; cartpole has no reward to set"),
    ("ppo", "cartpole", ["--set", "algo.kl=0.1"], "algo.kl is 0.1, but on Gymnasium there is no start model to stay near; set it to 0"),
    ("dqn", "cartpole", ["--set", "algo.epsilon_ende=0"], "no setting of algo called 'epsilon_ende'. Did you mean 'epsilon_end'?"),
    ("dqn", "cartpole", ["--set", "train.buffers=10"], "no setting of train called 'buffers'. Did you mean 'buffer'?"),
    ("dqn", "cartpole", ["--set", "task.autorest=disabled"], "no setting of task called 'autorest'. Did you mean 'autoreset'?"),
    ("dqn", "cartpole", ["--set", "task.autoreset=never"], "task.autoreset is 'never'; choose one of disabled, same_step, next_step"),
    ("ppo", "cartpole", ["--set", "train.buffer=10"], "no setting of train called 'buffer'."),
    ("ppo", "cartpole", ["--set", "train.prompts=4"], "no setting of train called 'prompts'."),
    ("ppo", "cartpole", ["--set", "train.lr=0"], "train.lr is 0.0; it must be greater than 0"),
    ("ppo", "cartpole", ["--set", "train.lr_end=2"], "train.lr_end is 2.0; it is the share of it that is left at the end, at most 1"),
    ("ppo", "cartpole", ["--set", "train.hidden=64|0"], "train.hidden is (64, 0); it takes the units of each hidden layer, such as 64|64"),
    ("ppo", "cartpole", ["--set", "train.hidden=64,64"], "train.hidden is '64,64'; it takes values of type int with | between them"),
    ("dqn", "cartpole", ["--set", "train.envs=3"], "train.buffer is 100000, which 3 environments (train.envs) cannot share evenly"),
    ("sac", "pendulum", ["--set", "train.envs=2"], "train.train_every is 1, which 2 environments (train.envs) cannot share evenly"),
    ("grpo", "cartpole", ["--set", "train.minibatches=33"], "train.minibatches is 33, but a rollout batch holds 32 episodes"),
    (
        "grpo",
        "cartpole",
        ["--set", "train.episodes=1"],
        "grpo compares episodes from one start state, and train.episodes is 1; set 2 or more",
    ),
    ("dapo", "cartpole", ["--set", "algo.surplus=carry"], "algo.surplus is carry, which is for text"),
    ("grpo", "cartpole", ["--set", "task.autoreset=same_step"], "episodes from chosen start states need task.autoreset=disabled"),
    ("ppo", "cartpole", ["--budget", "100"], "the budget is 100 environment steps, less than one rollout batch of 8 x 32; raise --budget"),
    (
        "dqn",
        "cartpole",
        ["--budget", "1000"],
        "the budget is 1000 environment steps, and learning starts after 1000; raise --budget or lower",
    ),
    ("ppo", "cartpole", ["--seed", "-1"], "the seed is -1; it must be 0 or more"),
    ("ppo", "cartpole", ["--seeds", "3..1"], "--seeds takes seeds such as 0..9 or 0,3,5; it got '3..1'"),
    ("ppo", "cartpole", ["--seeds", "0-3"], "it got '0-3'"),
    ("ppo", "cartpole", ["--seeds", "0,,1"], "it got '0,,1'"),
    ("ppo", "cartpole", ["--seeds", "1..x"], "it got '1..x'"),
    (
        "cql",
        "minari:no/such-v0",
        [],
        "Minari data set 'no/such-v0' is not on this machine (here: none); `minari download no/such-v0` fetches it",
    ),
]


@pytest.mark.parametrize(("algorithm", "task", "more", "says"), BAD, ids=[f"{a} {t} {says[:30]}" for a, t, _, says in BAD])
def test_bad_input_is_one_sentence_before_anything_is_made(
    algorithm: str, task: str, more: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    result = command("--algo", algorithm, "--task", task, *more, "--results", str(tmp_path / "r"))
    assert isinstance(result.exception, BenchError), result.exception
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "r").exists()


def test_what_is_not_installed_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.split(".")[0] in ("mujoco", "Box2D", "minari"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return plain(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    for module in [name for name in sys.modules if name.startswith(("gymnasium.envs.mujoco", "gymnasium.envs.box2d"))]:
        monkeypatch.delitem(sys.modules, module)
    for algorithm, task, extra in (("sac", "hopper", "mujoco"), ("dqn", "lunar_lander", "box2d"), ("cql", "minari:a/b-v0", "offline")):
        result = command("--algo", algorithm, "--task", task, "--results", str(tmp_path / "r"))
        assert isinstance(result.exception, MissingError), (task, result.exception)
        assert f'(pip install "rl-bench-suite[{extra}]")' in str(result.exception)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("text", "found"), [("0..3", [0, 1, 2, 3]), ("7", [7]), ("0,3,5", [0, 3, 5]), ("2..3,0, 3", [2, 3, 0]), ("4..4", [4])]
)
def test_seeds_are_read(text: str, found: list[int]) -> None:
    assert read_seeds(text) == found


@pytest.mark.parametrize(
    ("algorithm", "task", "kind"),
    [
        ("ppo", "cartpole", SegmentSettings),
        ("a2c", "pendulum", SegmentSettings),
        ("reinforce", "cartpole", EpisodeSettings),
        ("grpo", "pendulum", EpisodeSettings),
        ("untrained", "cartpole", EpisodeSettings),
        ("dqn", "cartpole", ReplaySettings),
        ("dqn", "cartpole_logged", LogSettings),
        ("sac", "pendulum_logged", LogSettings),
        ("bc", "cartpole_logged", LogSettings),
    ],
)
def test_each_rule_learns_in_its_own_way_and_its_specification_can_be_read_back(algorithm: str, task: str, kind: type[Any]) -> None:
    spec = resolve(Request(algorithm=algorithm, task=task))
    assert type(spec.train) is kind
    assert RunSpec.from_json(json.loads(json.dumps(asdict(spec)))) == spec
    assert spec.unit == ("gradient steps" if kind is LogSettings else "environment steps")


def test_a_name_of_gymnasiums_is_the_task_of_our_own() -> None:
    plain = resolve(Request(algorithm="dqn", task="cartpole"))
    assert resolve(Request(algorithm="dqn", task="CartPole-v1")) == plain == resolve(Request(algorithm="dqn", task="gym:CartPole-v1"))
    other = resolve(Request(algorithm="dqn", task="gym:CartPole-v0"))
    assert (other.task.name, other.task.settings["id"], other.table) == ("gym", "CartPole-v0", "gym-CartPole-v0")
    assert other.run_id != plain.run_id


class Corridor(gymnasium.Env[Any, Any]):
    """Walk right to the end of five places."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(0, 4))
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place = max(0, self.place + 2 * int(action) - 1)
        return self._seen(), -1.0, self.place == 4, False, {}

    def _seen(self) -> Any:
        return self.observation_space.low + self.place / 4


class Told(Corridor):
    """Its observations are of a kind that no network takes."""

    observation_space = gymnasium.spaces.Text(5)  # type: ignore[assignment]


@pytest.fixture
def corridors() -> Iterator[None]:
    gymnasium.register("tests/Corridor-v3", Corridor, max_episode_steps=20)
    gymnasium.register("tests/Told-v0", Told, max_episode_steps=20)
    yield
    for name in ("tests/Corridor-v3", "tests/Told-v0"):
        del gymnasium.registry[name]


@pytest.mark.usefixtures("corridors")
@pytest.mark.parametrize("algorithm", ["dqn", "ppo", "grpo"])
def test_any_registered_environment_can_be_learnt(algorithm: str, tmp_path: Path) -> None:
    way = {"dqn": ("train.learning_starts=10",), "ppo": ("train.envs=2", "train.steps=16"), "grpo": ("train.starts=2", "train.episodes=2")}
    spec = resolve(Request(algorithm=algorithm, task="gym:tests/Corridor-v3", budget=100, settings=(*SMALL, *way[algorithm])))
    (result,) = trained([spec], tmp_path)
    assert result.folder.parent == tmp_path / "gym-tests-Corridor-v3" / algorithm
    last = result.records[-1]
    assert last.samples >= 100 and -20 <= last.probes["eval/return"] <= -1
    assert last.eval_score == last.probes["eval/return"]  # nobody knows what is good here


@pytest.mark.usefixtures("corridors")
def test_observations_of_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    result = command("--algo", "dqn", "--task", "gym:tests/Told-v0", "--results", str(tmp_path / "r"))
    assert isinstance(result.exception, ConfigError)
    assert "tests/Told-v0 has observations of kind Text; Box and Discrete are known" in str(result.exception)
    assert not (tmp_path / "r").exists()


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
@pytest.mark.parametrize("name", ["CartPole-v0", "FrozenLake8x8-v1"])
def test_an_environment_of_gymnasiums_own_runs_from_the_command_line(name: str, tmp_path: Path) -> None:
    result = command("--algo", "dqn", "--task", f"gym:{name}", "--budget", "40", *QUICK, "--results", str(tmp_path), "--json")
    assert result.exit_code == 0, result.exception
    assert [path.parents[1].name for path in tmp_path.glob("*/*/*")] == [f"gym-{name}"]
