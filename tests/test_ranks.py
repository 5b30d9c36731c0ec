"""Places, shares and turns of the processes of one run, and how a process says why it ends: without starting any."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import spec as small
from typer.testing import CliRunner

from bench import rank_failure
from bench.cli import app
from bench.config import TrainSettings
from bench.errors import ConfigError, DivergedError, PeerError
from bench.launch import launched
from bench.loops.pieces import pieces, turns
from bench.models import BASES
from bench.policy import Policy
from bench.rank_failure import Note, Terminated, Watch, lives
from bench.ranks import ALONE, Ranks
from bench.resolve import Request, resolve
from bench.run import execute
from bench.samplers.hf import HF
from bench.samplers.scripted import Scripted
from bench.store import RunStore

SIZES = st.integers(1, 5)


def test_a_launcher_is_known_by_its_variables() -> None:
    assert launched({}) == launched({"RANK": "1", "WORLD_SIZE": "2"}) == (0, 1, 0)
    assert launched({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}) == (0, 1, 0)
    assert launched({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == (5, 8, 1)
    for rank, size in (("2", "2"), ("-1", "2"), ("one", "2"), ("0", "0")):
        with pytest.raises(ConfigError, match=rf"RANK={rank}, WORLD_SIZE={size}, LOCAL_RANK=0: this is no place"):
            launched({"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": "0"})


@given(SIZES, st.integers(0, 20))
def test_shares_are_neighbours_of_equal_size_that_make_up_the_whole(size: int, count: int) -> None:
    parts = [range(first, first + own) for first, own in (Ranks(rank, size).share(count) for rank in range(size))]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(SIZES, st.lists(st.integers(1, 30), min_size=1, max_size=20), st.sampled_from([(0, 0), (1, 0), (3, 0), (0, 20), (0, 64)]))
def test_turns_cover_every_row_once_in_step_and_within_the_bound(size: int, lengths: list[int], bounds: tuple[int, int]) -> None:
    settings = TrainSettings(microbatch=bounds[0], microbatch_tokens=bounds[1])
    each = [turns(lengths, settings, Ranks(rank, size)) for rank in range(size)]
    assert len({len(own) for own in each}) == 1
    assert sorted(i for own in each for part, counts in own if counts for i in part.tolist()) == list(range(len(lengths)))
    for part in (part for own in each for part, _ in own):
        assert len(part) == 1 or len(part) <= (bounds[0] or len(lengths))
        assert len(part) == 1 or len(part) * max(lengths[i] for i in part.tolist()) <= (bounds[1] or 10**9)
    if len(lengths) >= size:
        assert all(counts for own in each for _, counts in own[:1])  # nobody is idle while others have two


def test_one_process_takes_the_pieces_as_they_are() -> None:
    lengths, settings = [3, 9, 4, 4, 7], TrainSettings(microbatch=2)
    own = turns(lengths, settings, ALONE)
    assert all(counts for _, counts in own)
    assert [part.tolist() for part, _ in own] == [part.tolist() for part in pieces(lengths, settings)]


def test_a_process_alone_has_all_and_asks_nobody() -> None:
    tensor = torch.ones(2)
    assert Ranks.open({}) is ALONE is Ranks.open({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"})
    assert (ALONE.first, ALONE.share(7), ALONE.gathered([1, 2]), ALONE.agreed("x"), ALONE.does(lambda: 3)) == (True, (0, 7), [1, 2], "x", 3)
    assert ALONE.summed(tensor) is ALONE.sent(tensor) is tensor
    assert (ALONE.device(False), ALONE.device(True)) == ("cpu", "cuda")
    ALONE.same("anything", 1)
    ALONE.close()


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [Ranks(rank, 4, rank % 2).device(True) for rank in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    with pytest.raises(ConfigError, match=r"process 2 of this machine has no GPU of its own: there are 2; start 2 \(--nproc-per-node 2\)"):
        Ranks(2, 3, 2).device(True)
    assert Ranks(2, 3, 2).device(False) == "cpu"


class Together(Ranks):
    """Some of several processes, whose exchanges find what this one has."""

    def gathered(self, own: Any) -> Any:
        return list(own) * self.size

    def does(self, act: Callable[[], Any]) -> Any:
        return act()


def test_more_processes_than_prompts_are_refused(tmp_path: Path) -> None:
    wanted = resolve(Request(algorithm="grpo", task="last_digit", tier="tiny", settings=("train.prompts=4",)))
    with pytest.raises(
        ConfigError, match=r"train\.prompts is 4, but 5 processes train the run, .* start at most 4, or raise train\.prompts"
    ):
        execute(wanted, RunStore(tmp_path), lambda record: None, Together(0, 5))
    assert not list(tmp_path.iterdir())


def test_small_networks_are_for_one_process(tmp_path: Path) -> None:
    wanted = resolve(Request(algorithm="reinforce", task="cartpole"))
    with pytest.raises(ConfigError, match="cartpole is trained by one process, which takes its seeds together; 2 were started"):
        execute(wanted, RunStore(tmp_path), lambda record: None, Together(0, 2))


def test_other_commands_are_for_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["ls", "tasks"])
    assert isinstance(result.exception, ConfigError)
    assert "bench ls is done by one process, and a launcher started 2" in str(result.exception)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert CliRunner().invoke(app, ["ls", "tasks"]).exit_code == 0


@pytest.mark.parametrize("sampler", [HF(rows=6), Scripted(texts=("1", "22", "333"))], ids=["hf", "scripted"])
def test_shares_of_a_sample_make_up_the_sample(sampler: Any) -> None:
    policy = Policy.load(BASES / "last_digit")
    prompts = [policy.encode(text) for text in ("12+5", "7", "3456*2", "9+9+9", "1")]
    whole, length = sampler.open(policy).sample(prompts, 3, 6, "a seed"), len(prompts)
    for size in (1, 2, 3, 5, 7):
        shares = [sampler.open(policy).share(prompts, 3, 6, "a seed", *Ranks(rank, size).share(length)) for rank in range(size)]
        found = [completions for share in shares for completions in share]
        assert [[c.tokens for c in row] for row in found] == [[c.tokens for c in row] for row in whole]
        for own, other in zip((c for row in found for c in row), (c for row in whole for c in row), strict=True):
            assert own.logp == pytest.approx(other.logp, abs=1e-5) and own.truncated == other.truncated


class Store:
    """What all processes see."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    def check(self, keys: list[str]) -> bool:
        return all(key in self.held for key in keys)

    def get(self, key: str) -> str:
        return self.held[key]

    def compare_set(self, key: str, before: str, after: str) -> None:
        if self.held.get(key, "") == before:
            self.held[key] = after


@pytest.fixture(autouse=True)
def no_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_failure, "WORD", 0.2)


def of_two(store: Store, rank: int) -> Watch:
    return Watch(Ranks(rank, 2, rank, store))


OWN: list[tuple[BaseException, str | None, str]] = [
    (ValueError("boom"), "error", "process 1 of the run: ValueError: boom"),
    (RuntimeError("boom"), "error", "process 1 of the run: RuntimeError: boom"),
    (MemoryError(), "memory", "process 1 of the run: MemoryError: "),
    (torch.OutOfMemoryError("no memory"), "memory", "process 1 of the run: OutOfMemoryError: no memory"),
    (DivergedError("training diverged"), "diverged", "training diverged"),
    (KeyboardInterrupt(), None, "process 1 of the run: KeyboardInterrupt: "),
]


@pytest.mark.parametrize(("error", "kind", "text"), OWN, ids=[type(error).__name__ for error, *_ in OWN])
def test_a_process_that_fails_says_why_and_the_others_end_with_its_reason(error: BaseException, kind: str | None, text: str) -> None:
    store = Store()
    note = of_two(store, 1).explain(error)
    assert (note.kind, str(note)) == (kind, text)
    waiting, told = of_two(store, 0), RuntimeError("Connection closed by peer")
    assert waiting.explain(told) == note
    marked: list[tuple[str, str]] = []
    with pytest.raises(RuntimeError), waiting.marking(lambda *known: marked.append(known)):
        raise told
    assert marked == ([] if kind is None else [(kind, text)])
    with pytest.raises(KeyboardInterrupt if kind is None else PeerError, match=None if kind is None else "the same command continues"):
        waiting.__exit__(RuntimeError, told, None)


def test_the_first_note_stays_and_a_process_with_a_reason_of_its_own_keeps_it() -> None:
    store = Store()
    of_two(store, 1).explain(ValueError("first"))
    assert str(of_two(store, 0).explain(ValueError("second"))) == "process 0 of the run: ValueError: second"
    assert of_two(store, 0).told() == Note(1, "error", "ValueError: first")


def test_a_process_that_is_gone_is_missed() -> None:
    """Also while its parent has not read its end."""
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and lives(process.pid)
        process.stdout.read()
        watch = of_two(Store(), 0)
        watch._places = {1: process.pid}
        note = watch.explain(RuntimeError("Connection reset by peer"))
    assert (note.rank, note.kind) == (1, "killed") and "ended without a word" in str(note)
    assert not lives(process.pid)


def test_being_ended_from_outside_is_told_from_a_fault() -> None:
    note = of_two(Store(), 0).explain(Terminated())
    assert (note.rank, note.kind) == (-1, "killed") and "SIGTERM" in str(note)


def test_a_process_alone_marks_that_training_diverged_and_nothing_else() -> None:
    marked: list[tuple[str, str]] = []
    for error in (DivergedError("training diverged"), ValueError("boom")):
        with pytest.raises(type(error)), Watch(ALONE) as watch, watch.marking(lambda *known: marked.append(known)):
            raise error
    assert marked == [("diverged", "training diverged")]


def test_an_optimizer_of_8_bits_is_for_one_process() -> None:
    from bench.loops.optimizers import optimizer

    policy = Policy.load(BASES / "last_digit")
    policy.root = type("Root", (), {"ranks": Ranks(0, 2)})()
    with pytest.raises(ConfigError, match=r"train\.optimizer is adamw_8bit, .* over 2 processes; leave it at adamw"):
        optimizer(policy, 1e-3, 1e-3, TrainSettings(optimizer="adamw_8bit"))


def test_the_places_of_a_run_are_no_part_of_what_identifies_it() -> None:
    assert "ranks" not in small().to_json()
