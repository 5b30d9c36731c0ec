"""Networks of several seeds side by side do what each does alone, and what torch's own modules and optimizers do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms.sac import SAC
from algorithms.value import Network, Parameter, Space, Transitions
from bench.checks.batches import Draw
from bench.control.process import made_small
from bench.control.stack import Build, Mover, Net, Stack

SEEDS, SPACE, ROWS = (3, 11, 7), Space(4, 2, discrete=False), 10
BUILD = Build((16, 8), "tanh", "orthogonal")
KINDS: list[Any] = ["adam", "rmsprop"]


def fresh(seeds: Sequence[int] = SEEDS, kind: Any = "adam", clip: float = 0.0) -> tuple[Stack, Mover]:
    stack = Stack(SAC().networks(SPACE), BUILD, seeds)
    return stack, Mover(stack, kind, dict.fromkeys(stack.learnt, 3e-3), 1e-5, clip)


def numbers(net: Net) -> Tensor:
    """(S, P) a copy of everything learnt."""
    return torch.cat([leaf.detach().reshape(len(SEEDS), -1) for leaf in net.leaves], -1)


def draws(name: str, seeds: Sequence[int], width: int) -> Tensor:
    """(S, B, width) numbers of each seed's own."""
    return torch.stack([Draw(f"{name}:{seed}", torch.float32, (ROWS, width)).normal("x") for seed in seeds])


def train(stack: Stack, mover: Mover, first: int, last: int, still: Tensor | None = None) -> None:
    """SAC's updates from the `first` to before the `last`, each with data of its own for every seed."""
    for n in range(first, last):
        obs, after, other = (draws(f"{n}:{name}", stack.seeds, 4) for name in ("obs", "next", "other"))
        batch = Transitions(
            obs, other[..., :2].tanh(), other[..., 2], after, (other[..., 3] > 1).float(), torch.full(other.shape[:-1], 0.9)
        )
        noise = {name: draws(f"{n}:noise:{name}", stack.seeds, 2) for name in ("now", "next")}
        for name, loss in SAC().updates(stack, batch, noise):
            mover.step([name], loss.mean(-1).sum(), still)
        stack.follow(0.1)


def same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 0.0) -> None:
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_seeds_at_once_are_each_seed_alone(kind: Any, clip: float) -> None:
    stack, mover = fresh(kind=kind, clip=clip)
    train(stack, mover, 0, 15)
    for row, seed in enumerate(SEEDS):
        alone, own = fresh([seed], kind, clip)
        train(alone, own, 0, 15)
        same(alone.tensors(0), stack.tensors(row), 1e-5)
        same(own.tensors(0), mover.tensors(row), 1e-5)


def test_seeds_start_alike_whatever_stands_beside_them() -> None:
    stack, _ = fresh()
    for row, seed in enumerate(SEEDS):
        same(fresh([seed])[0].tensors(0), stack.tensors(row))
    assert not torch.equal(*numbers(stack["policy"])[:2])
    alone = Net("policy", SAC().networks(SPACE)["policy"], BUILD, SEEDS)
    assert torch.equal(numbers(alone), numbers(stack["policy"]))


def test_copies_start_as_what_they_follow_and_critics_apart() -> None:
    stack, _ = fresh()
    assert torch.equal(numbers(stack["q_target"]), numbers(stack["q"])) and (stack.drift() == 0).all()
    first, second = stack["q"].leaves[0].unflatten(0, (-1, 2)).unbind(1)
    assert not torch.equal(first, second)
    assert stack.learnt == ["policy", "q", "log_temperature"]


@pytest.mark.parametrize("gain", [0.01, 1.0])
def test_layers_start_orthogonal(gain: float) -> None:
    net = Net("policy", Network(4, 3, copies=2, gain=gain), BUILD, SEEDS)
    for at, wanted in ((0, 2.0), (2, 2.0), (4, gain**2)):
        weight, bias = net.leaves[at], net.leaves[at + 1]
        assert (bias == 0).all() and len(weight) == 2 * len(SEEDS)
        narrow = weight if weight.shape[-1] <= weight.shape[-2] else weight.mT
        eye = torch.eye(narrow.shape[-1]).expand(len(weight), -1, -1)
        torch.testing.assert_close(narrow.mT @ narrow, wanted * eye, rtol=0, atol=1e-5)


def test_uniform_starts_keep_their_bounds() -> None:
    net = Net("q", Network(25, 3), Build((100,), "relu", "uniform"), SEEDS)
    for at, bound in ((0, 0.2), (1, 0.2), (2, 0.1), (3, 0.1)):
        assert 0.8 * bound < net.leaves[at].abs().max() <= bound


def test_parameters_start_where_they_are_told() -> None:
    net = Net("log_temperature", Parameter(2, -0.7), BUILD, SEEDS)
    assert torch.equal(net(), torch.full((3, 2), -0.7))


def module(net: Net, row: int) -> torch.nn.Sequential:
    """One network of one seed as torch has it; `row` counts copies, too."""
    layers: list[torch.nn.Module] = []
    for weight, bias in zip(net.leaves[::2], net.leaves[1::2], strict=True):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[2])
        linear.weight.data, linear.bias.data = weight[row].detach().T.clone(), bias[row, 0].detach().clone()
        layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def test_outputs_are_those_of_torchs_layers() -> None:
    net = Net("q", Network(4, 3, copies=2), BUILD, SEEDS)
    x, each = draws("x", SEEDS, 4), draws("each", range(6), 4).unflatten(0, (3, 2))
    together, apart = net(x), net(each)
    assert together.shape == apart.shape == (3, 2, ROWS, 3)
    for row in range(3):
        for copy in range(2):
            plain = module(net, 2 * row + copy)
            torch.testing.assert_close(together[row, copy], plain(x[row]), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(apart[row, copy], plain(each[row, copy]), rtol=1e-5, atol=1e-6)


def test_relu_is_taken_where_it_is_asked_for() -> None:
    net = Net("q", Network(4, 3), Build((16,), "relu", "uniform"), SEEDS)
    w, b, v, c = net.leaves
    x = draws("x", SEEDS, 4)
    torch.testing.assert_close(net(x), (x @ w + b).clamp_min(0) @ v + c, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_torchs_optimizers(kind: Any) -> None:
    stack = Stack({"q": Network(4, 1)}, BUILD, SEEDS)
    mover = Mover(stack, kind, {"q": 1e-2}, 1e-5, 0.05)
    plain = [module(stack["q"], row) for row in range(3)]
    if kind == "adam":
        optimizers: list[Any] = [torch.optim.Adam(m.parameters(), 1e-2, eps=1e-5) for m in plain]
    else:
        optimizers = [torch.optim.RMSprop(m.parameters(), 1e-2, alpha=0.99, eps=1e-5) for m in plain]
    for n in range(10):
        x, wanted = draws(f"x{n}", SEEDS, 4), draws(f"y{n}", SEEDS, 1)
        norm = mover.step(["q"], (stack["q"](x) - wanted).square().mean((-2, -1)).sum())
        for row in range(3):
            optimizers[row].zero_grad()
            (plain[row](x[row]) - wanted[row]).square().mean().backward()
            own = torch.nn.utils.clip_grad_norm_(plain[row].parameters(), 0.05)
            torch.testing.assert_close(norm[row], own, rtol=1e-4, atol=1e-5)
            optimizers[row].step()
    for row in range(3):
        for mine, theirs in zip(module(stack["q"], row).parameters(), plain[row].parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_gradients_are_clipped_for_each_seed_over_all_networks_named() -> None:
    stack, mover = fresh(kind="rmsprop", clip=1.0)
    x, scale = draws("x", SEEDS, 4), torch.tensor([1e-3, 1.0, 1e3])
    loss = (scale * (stack["policy"](x).square().sum((-2, -1)) + stack["log_temperature"]().exp().sum(-1))).sum()
    norm = mover.step(["policy", "log_temperature"], loss)
    squares = [sum(v.sum().item() for key, v in mover.tensors(row).items() if key.endswith("square_avg")) for row in range(3)]
    kept = (torch.tensor(squares) / 0.01).sqrt()  # a hundredth of the first gradient's square is what the optimizer remembers
    assert norm[0] < 1 < norm[1] < norm[2]
    torch.testing.assert_close(kept, norm.clamp_max(1.0), rtol=1e-4, atol=1e-5)


def test_a_broken_seed_breaks_no_other() -> None:
    stack, mover = fresh(clip=0.5)
    wanted, own = fresh(clip=0.5)
    for s, m, broken in ((stack, mover, float("nan")), (wanted, own, 1.0)):
        loss = s["policy"](draws("x", SEEDS, 4)).square().mean((-2, -1)) * torch.tensor([1.0, broken, 1.0])
        m.step(["policy"], loss.sum())
    assert numbers(stack["policy"])[1].isnan().any()
    assert torch.equal(numbers(stack["policy"])[[0, 2]], numbers(wanted["policy"])[[0, 2]])


def test_only_what_is_named_moves() -> None:
    stack, mover = fresh()
    before = {name: numbers(net) for name, net in stack.items()}
    x = draws("x", SEEDS, 4)
    value = stack["q"](torch.cat([x, stack["policy"](x)[..., :2].tanh()], -1)).mean((-2, -1)).sum()
    mover.step(["policy"], -value)
    assert [name for name, net in stack.items() if not torch.equal(numbers(net), before[name])] == ["policy"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [0, 3])
def test_a_seed_that_is_held_keeps_its_place_and_its_memory(kind: Any, first: int) -> None:
    """Also where it is held from the very first step on; only the count of steps, which is one for all seeds, goes on."""
    stack, mover = fresh(kind=kind)
    free, other = fresh(kind=kind)
    train(stack, mover, 0, first)
    train(free, other, 0, first)
    place, memory = {name: numbers(stack[name])[1] for name in stack.learnt}, mover.tensors(1)
    train(stack, mover, first, first + 3, torch.tensor([False, True, False]))
    train(free, other, first, first + 3)
    for name, value in place.items():
        assert torch.equal(numbers(stack[name])[1], value)
    for name, value in mover.tensors(1).items():
        if value.dim():
            assert torch.equal(value, memory.get(name, torch.zeros_like(value))), name
    for row in (0, 2):
        same(stack.tensors(row), free.tensors(row), 1e-6)
        same(mover.tensors(row), other.tensors(row), 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_goes_on_as_if_nothing_had_happened(kind: Any) -> None:
    stack, mover = fresh(kind=kind)
    train(stack, mover, 0, 5)
    saved = [(stack.tensors(row), mover.tensors(row)) for row in range(3)]
    train(stack, mover, 5, 10)
    wanted = [(stack.tensors(row), mover.tensors(row)) for row in range(3)]
    other, own = fresh([5, 6, 8], kind)
    other.seeds = list(SEEDS)
    for place in ((other, own), (stack, mover)):  # in new networks, and as a way back in the old ones
        for row, (weights, memory) in enumerate(saved):
            place[0].restore(row, weights)
            place[1].restore(row, memory)
        train(*place, 5, 10)
        for row, (weights, memory) in enumerate(wanted):
            same(place[0].tensors(row), weights)
            same(place[1].tensors(row), memory)


def test_what_is_saved_is_a_copy() -> None:
    stack, mover = fresh()
    train(stack, mover, 0, 1)
    saved = [stack.tensors(0), mover.tensors(0)]
    before = [{name: value.clone() for name, value in part.items()} for part in saved]
    train(stack, mover, 1, 2)
    for part, held in zip(saved, before, strict=True):
        same(part, held)


def test_one_seed_moves_into_another_row() -> None:
    stack, mover = fresh()
    train(stack, mover, 0, 3)
    alone, own = fresh([SEEDS[2]])
    alone.restore(0, stack.tensors(2))
    own.restore(0, mover.tensors(2))
    train(stack, mover, 3, 6)
    train(alone, own, 3, 6)
    same(alone.tensors(0), stack.tensors(2), 1e-5)


@pytest.mark.parametrize("tau", [0.005, 0.5, 1.0])
def test_copies_follow(tau: float) -> None:
    stack, _ = fresh()
    with torch.no_grad():
        for leaf in stack["q_target"].leaves:
            leaf.add_(1.0)
    before, distance = numbers(stack["q_target"]), stack.drift()
    assert distance.tolist() == pytest.approx([math.sqrt(before.shape[-1])] * 3, rel=1e-4)
    stack.follow(tau)
    torch.testing.assert_close(numbers(stack["q_target"]), (1 - tau) * before + tau * numbers(stack["q"]), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(stack.drift(), (1 - tau) * distance, rtol=1e-3, atol=1e-6)
    if tau == 1:
        assert torch.equal(numbers(stack["q_target"]), numbers(stack["q"]))


def test_rates_can_fall() -> None:
    stack, mover = fresh()
    before = numbers(stack["policy"])
    mover.rate(0.0)
    train(stack, mover, 0, 2)
    assert torch.equal(numbers(stack["policy"]), before)
    mover.rate(0.5)
    assert {o.param_groups[0]["lr"] for o in mover.optimizers.values()} == {1.5e-3}


def test_setting_the_process_up_for_small_tensors_is_undone() -> None:
    threads, tiny = torch.get_num_threads(), torch.tensor(1e-40)
    with made_small():
        assert torch.get_num_threads() == 1 and not tiny * 1 > 0
    assert torch.get_num_threads() == threads and tiny * 1 > 0
