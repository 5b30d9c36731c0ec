"""Logs of what others did: what the shipped ones say of themselves, how they are made, and data sets that Minari recorded."""

from __future__ import annotations

import hashlib
import io
import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy
import pytest
import torch
from control_runs import SMALL, left, trained
from rich.console import Console
from typer.testing import CliRunner

from bench import registry
from bench.cli import app
from bench.collect import collect
from bench.control.logs import QUANTILES, transitions
from bench.control.worlds import Worlds
from bench.errors import ConfigError
from bench.resolve import Request, resolve
from bench.screen import summary
from tasks.cartpole_logged import CartPoleLogged
from tasks.log import LoggedEpisode, ShippedLog, Stage, read, write
from tasks.minari import Minari
from tasks.pendulum_logged import PendulumLogged

minari = pytest.importorskip("minari")
EpisodeBuffer = minari.data_collector.EpisodeBuffer

SHIPPED: list[type[ShippedLog]] = [CartPoleLogged, PendulumLogged]
TINY = {
    CartPoleLogged: (Stage("ppo", 0, 60), Stage("ppo", 300, 80)),
    PendulumLogged: (Stage("sac", 0, 200), Stage("sac", 120, 200)),
}


def quality(episodes: list[LoggedEpisode]) -> dict[str, float]:
    """What a provenance says, computed by itself."""
    totals = sorted(float(sum(float(r) for r in e.reward)) for e in episodes)
    found = {"episodes": len(episodes), "transitions": sum(len(e.reward) for e in episodes), "return_mean": sum(totals) / len(totals)}
    for q in QUANTILES:
        place = q * (len(totals) - 1)
        low, high = totals[int(place)], totals[min(int(place) + 1, len(totals) - 1)]
        found[f"return_q{round(100 * q)}"] = low + (place - int(place)) * (high - low)
    return found


def by_stage(episodes: list[LoggedEpisode], stages: tuple[Stage, ...]) -> list[list[LoggedEpisode]]:
    """Each stage's own: whole episodes until there are enough steps."""
    rest, found = list(episodes), []
    for stage in stages:
        part: list[LoggedEpisode] = []
        while sum(len(e.reward) for e in part) < stage.transitions:
            part.append(rest.pop(0))
        found.append(part)
    assert not rest
    return found


def assert_says_what_it_holds(told: dict[str, Any], episodes: list[LoggedEpisode], stages: tuple[Stage, ...]) -> None:
    parts = by_stage(episodes, stages)
    for said, part in zip([told, *told["parts"]], [episodes, *parts], strict=True):
        for name, value in quality(part).items():
            assert said[name] == pytest.approx(value, abs=2e-3, rel=1e-5), name
    assert [p["policy"] for p in told["parts"]] == [stage.algorithm if stage.steps else "random" for stage in stages]
    assert all(stage.steps <= p["steps_of_training"] < stage.steps + 256 for p, stage in zip(told["parts"], stages, strict=True))
    data = b"".join(
        b"".join([*(numpy.ascontiguousarray(x).tobytes() for x in (e.obs, e.action, e.reward)), bytes([e.terminated])]) for e in episodes
    )
    assert told["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", SHIPPED)
def test_a_shipped_log_is_what_it_says(kind: type[ShippedLog]) -> None:
    task, episodes = kind(), list(kind().episodes())
    told = task.provenance()
    assert_says_what_it_holds(told, episodes, kind.stages)
    assert (told["task"], told["seed"]) == (kind.source, 12345)
    assert {"python", "packages"} <= told["made_on"].keys()
    means = [part["return_mean"] for part in told["parts"]]
    assert max(means) == means[-1] and task.score(means[-1]) > 0.8 and abs(task.score(means[0])) < 0.1


@pytest.mark.parametrize("kind", SHIPPED)
def test_a_shipped_log_holds_what_its_world_would_have_done(kind: type[ShippedLog]) -> None:
    """Steps of the first and of the last policy, taken again from the states that were logged."""
    episodes = list(kind().episodes())
    world = gymnasium.make(kind.id).unwrapped
    world.reset(seed=0)
    for episode in (episodes[0], episodes[-1]):
        for t in (0, 1, len(episode.reward) - 2):
            obs = episode.obs[t].astype(float)
            world.state = obs if kind is CartPoleLogged else numpy.array([numpy.arctan2(obs[1], obs[0]), obs[2]])  # type: ignore[attr-defined]
            if kind is CartPoleLogged:
                world.steps_beyond_terminated = None  # type: ignore[attr-defined]
            after, reward, ended, _, _ = world.step(episode.action[t])
            numpy.testing.assert_allclose(after, episode.obs[t + 1], atol=1e-4)
            assert float(reward) == pytest.approx(float(episode.reward[t]), abs=1e-3) and not ended


def test_ended_and_cut_episodes_are_kept_apart() -> None:
    """The pole falls, or 500 steps are over; a pendulum's episodes are only ever cut."""
    poles = list(CartPoleLogged().episodes())
    assert {len(e.reward) for e in poles if not e.terminated} == {500}
    assert all(e.terminated for e in poles if len(e.reward) < 500)
    fallen = numpy.array([abs(e.obs[-1][0]) > 2.4 or abs(e.obs[-1][2]) > 0.2095 for e in poles])
    assert (fallen == numpy.array([e.terminated for e in poles])).all() and 0 < fallen.sum() < len(poles)
    assert not any(e.terminated for e in PendulumLogged().episodes())


def test_only_what_ended_is_terminal_to_a_learner() -> None:
    episodes = [
        LoggedEpisode(numpy.arange(16, dtype=numpy.float32).reshape(4, 4) + 16 * i, numpy.array([0, 1, 0]), numpy.ones(3), bool(i))
        for i in range(2)
    ]
    worlds = Worlds(CartPoleLogged(), 1, lambda column, k: 0)
    found = transitions(episodes, worlds, 0.5, 1)
    worlds.close()
    assert found.terminal.tolist() == [0, 0, 0, 0, 0, 1]
    assert torch.equal(found.next_obs[2], torch.tensor(episodes[0].obs[3])) and torch.equal(found.obs[3], torch.tensor(episodes[1].obs[0]))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    episodes = list(CartPoleLogged().episodes())[:3]
    episodes[1] = replace(episodes[1], terminated=False)
    write(tmp_path / "log", episodes, {"who": "we"})
    for found, wanted in zip(read(tmp_path / "log"), episodes, strict=True):
        assert found.terminated == wanted.terminated
        for name in ("obs", "action", "reward"):
            assert numpy.array_equal(getattr(found, name), getattr(wanted, name))
    assert json.loads((tmp_path / "log.json").read_text()) == {"who": "we"}


@pytest.mark.parametrize("kind", SHIPPED)
def test_collecting_again_gives_the_same_bytes(kind: type[ShippedLog], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.load("tasks", f"{kind.source}_logged"), "stages", TINY[kind])
    if kind is PendulumLogged:
        monkeypatch.setattr("bench.collect.resolve", lambda asked: resolve(replace(asked, settings=("train.hidden=8", "train.batch=8"))))
    files = []
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        told = collect(f"{kind.source}_logged", tmp_path / name, seed)
        assert told == json.loads((tmp_path / name / f"{kind.source}.json").read_text())
        episodes = list(read(tmp_path / name / kind.source))
        assert_says_what_it_holds(told, episodes, TINY[kind])
        assert {e.terminated for e in episodes} == {kind is CartPoleLogged}  # none stays up for 500 steps yet; the other never ends
        files.append((tmp_path / name / f"{kind.source}.npz").read_bytes())
    assert files[0] == files[1] != files[2]


@pytest.mark.slow
def test_a_shipped_log_can_be_made_again(tmp_path: Path) -> None:
    """To the byte where it was made; elsewhere training may round otherwise, but what was done at random is the same."""
    told, made = CartPoleLogged().provenance(), collect("cartpole_logged", tmp_path, 12345)
    for mine, shipped in zip(
        list(read(tmp_path / "cartpole"))[: int(told["parts"][0]["episodes"])], CartPoleLogged().episodes(), strict=False
    ):
        assert mine.action.tolist() == shipped.action.tolist() and mine.terminated == shipped.terminated
        numpy.testing.assert_allclose(mine.obs, shipped.obs, rtol=1e-5, atol=1e-6)
    if made["made_on"] == told["made_on"]:
        assert made == told
        assert (tmp_path / "cartpole.npz").read_bytes() == CartPoleLogged.path().with_suffix(".npz").read_bytes()


def test_what_is_no_shipped_log_cannot_be_made_again(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["collect", "cartpole", "--out", str(tmp_path / "x")])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == "cartpole is no log that could be made again; those are cartpole_logged, pendulum_logged"
    assert not (tmp_path / "x").exists()


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, list[int], list[float], bool]]:
    """Twelve episodes of a pole cut after 15 steps, as Minari writes them, beside what was seen while they were made."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    world = gymnasium.make("CartPole-v1", max_episode_steps=15)
    chance, seen, buffers = numpy.random.default_rng(0), [], []
    for i in range(12):
        obs, actions, rewards, ended, cut = [world.reset(seed=i)[0]], list[int](), list[float](), False, False
        while not (ended or cut):
            actions.append(int(chance.integers(2)) if i % 2 else len(actions) % 2)
            after, reward, ended, cut, _ = world.step(actions[-1])
            obs.append(after)
            rewards.append(float(reward))
        seen.append((numpy.stack(obs), actions, rewards, bool(ended)))
        last = [False] * (len(actions) - 1)
        flags = {"terminations": numpy.array([*last, ended]), "truncations": numpy.array([*last, cut])}
        buffers.append(
            EpisodeBuffer(id=i, observations=numpy.stack(obs), actions=numpy.array(actions), rewards=numpy.array(rewards), **flags)
        )
    with warnings.catch_warnings(action="ignore"):  # it asks for an author, a place of the code, a description and more
        minari.create_dataset_from_buffers("tests/pole-v0", buffers, env=world, algorithm_name="a coin")
    world.close()
    return seen


def test_a_data_set_of_minaris_is_read_as_it_was_recorded(recorded: list[tuple[Any, list[int], list[float], bool]]) -> None:
    task = Minari(id="tests/pole-v0")
    for episode, (obs, actions, rewards, ended) in zip(task.episodes(), recorded, strict=True):
        assert numpy.array_equal(episode.obs, obs)
        assert (episode.action.tolist(), episode.reward.tolist(), episode.terminated) == (actions, rewards, ended)
    assert {ended for *_, ended in recorded} == {False, True}
    assert task.provenance()["algorithm_name"] == "a coin"


@pytest.mark.parametrize("algorithm", ["cql", "bc"])
def test_a_data_set_of_minaris_can_be_learnt_from(
    algorithm: str, recorded: list[tuple[Any, list[int], list[float], bool]], tmp_path: Path
) -> None:
    specs = [
        resolve(Request(algorithm=algorithm, task="minari:tests/pole-v0", seed=seed, budget=12, settings=(*SMALL, "train.batch=8")))
        for seed in (0, 1)
    ]
    first, second = trained(specs, tmp_path / "one")
    assert first.folder.parent == tmp_path / "one" / "minari-tests-pole-v0" / algorithm
    start = first.records[0].probes
    assert start["log/episodes"] == 12 and start["log/transitions"] == sum(len(actions) for _, actions, *_ in recorded)
    assert start["log/return_q100"] == max(sum(rewards) for _, _, rewards, _ in recorded)
    assert first.records[-1].updates == first.records[-1].samples == 12
    assert all(0 < r.probes["eval/length"] <= 15 for r in first.records if r.eval_score is not None)
    assert [left(r.folder) for r in trained(specs, tmp_path / "two")] == [left(first.folder), left(second.folder)]


def test_best_and_last_are_told_apart(tmp_path: Path) -> None:
    """A log gives no way to choose the best of several networks, so the last one's score stands beside the best one's."""
    spec = resolve(Request(algorithm="bc", task="cartpole_logged", budget=12, settings=(*SMALL, "train.batch=8")))
    (result,) = trained([spec], tmp_path)
    evaluated = [r for r in result.records if r.eval_score is not None]
    changed = [replace(r, probes=r.probes | {"eval/return": value}) for r, value in zip(evaluated, (20.0, 90.0, 40.0), strict=True)]
    shown = io.StringIO()
    Console(file=shown, width=200).print(summary([changed]))
    (line,) = (line for line in shown.getvalue().splitlines() if line.startswith("return, deterministic"))
    assert re.findall(r"\d+\.\d", line) == ["20.0", "90.0", "40.0"]
    assert json.loads((result.folder / "done.json").read_text())["summary"]["score"] == result.records[-1].eval_score
