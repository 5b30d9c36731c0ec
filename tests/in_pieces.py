"""One of two processes: models in pieces against the same models in one piece, then whole runs. Its exit status tells."""

from __future__ import annotations

import copy
import math
import os
import sys
import traceback
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from language_models import policy
from ranked import RULES, spec
from test_policy import paths, step

from bench import run
from bench.config import TrainSettings
from bench.loops.optimizers import optimizer
from bench.model_settings import ModelSettings
from bench.policy import Policy, Rows
from bench.ranks import Ranks
from bench.rollout import logp, scored
from bench.samplers.hf import HF
from bench.store import RunStore


def pairs() -> list[tuple[str, Policy]]:
    """Every way in which a model is run: as `bench.dense` does, by transformers, with adapters, with layers that recompute."""
    adapters = ModelSettings(lora_rank=2)
    recomputed = ModelSettings(gradient_checkpointing=True)
    found = [("dense", policy("qwen3")), ("gpt2", policy("gpt2"))]
    for name, settings in (("adapters", adapters), ("recomputed", recomputed)):
        folder = Path(sys.argv[1]) / name
        if dist.get_rank() == 0:
            policy("qwen2").save(folder)
        dist.barrier()
        found.append((name, Policy.load(folder, settings=settings)))
    return found


def close(name: str, one: torch.Tensor, other: torch.Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(one, other, atol=atol, rtol=0, msg=lambda text: f"{name}: {text}")


def check(name: str, plain: Policy, ranks: Ranks) -> None:
    """Figures, a step, copies, what is given out and taken back."""
    pieces = copy.deepcopy(plain).shard(ranks, "cpu")
    prompts, completions = paths(7)
    below = pieces.reference(), plain.reference()
    with torch.no_grad():
        for own, other in ((pieces, plain), below):
            close(name, logp(own, prompts, completions), other.forward(prompts, completions).logp)
        close(name, logp(pieces, prompts[:1], completions[:1]), plain.forward(prompts[:1], completions[:1]).logp)
    made, wanted = step(pieces, microbatch=5), step(plain)
    close(name, made.logp, wanted.logp, 1e-5)
    close(name, made.entropy, wanted.entropy, 1e-5)
    assert abs(made.grad_norm - wanted.grad_norm) < 1e-5 * wanted.grad_norm, (name, made.grad_norm, wanted.grad_norm)
    for (own_name, own), (other_name, other) in zip(pieces.exported(), plain.exported(), strict=True):
        assert own_name == other_name
        close(f"{name} {own_name}", own, other, 1e-5)
    with torch.no_grad():
        close(name, logp(below[0], prompts, completions), below[1].forward(prompts, completions).logp)  # it has not moved
    with pieces.whole() as whole:
        assert whole.digest() == pieces.digest() == pieces.copy().digest() and whole.root is None
    plain.restore(dict(whole.tensors()))
    pieces.restore(plain.tensors())
    assert pieces.digest() == plain.digest()
    own = ranks.gathered(HF().open(pieces).share(prompts, 2, 5, "seed", *ranks.share(7)))
    other = HF().open(whole).sample(prompts, 2, 5, "seed")
    assert [[c.tokens for c in row] for row in own] == [[c.tokens for c in row] for row in other], name


def asked(model: Policy, prompts: Rows, completions: Rows, width: int) -> torch.Tensor:
    return model.values(prompts, completions, width=width)


def check_values(ranks: Ranks) -> None:
    """A value head beside a model in pieces is in pieces itself, and its optimizer's states are."""
    torch.manual_seed(1)
    plain = policy("gpt2").with_values()
    pieces = plain.copy().shard(ranks, "cpu")
    prompts, completions = paths(5)
    for own in (plain, pieces):
        moves = optimizer(own, 1e-2, 1e-1, TrainSettings(beta1=0.5))
        for _ in range(2):
            (own.scores(prompts, completions) - 1).square().sum().div(own.ranks.size).backward()
            moves.step()
            moves.zero_grad()
    with torch.no_grad():
        own, other = (scored(each, partial(asked, each), prompts, completions) for each in (pieces, plain))
        close("values", own, other, 1e-4)
        assert other.abs().max() > 0.1
    assert any(hasattr(part, "full_tensor") for part in moves.state_dict()["state"][0].values())


def main() -> None:
    torch.set_num_threads(1)
    run.SAVE_SHARE = math.inf
    folder = Path(sys.argv[1])
    with Ranks.open() as ranks:
        for name, plain in pairs():
            check(name, plain, ranks)
        check_values(ranks)
        for name in RULES:
            run.execute(spec(name), RunStore(folder / "two"), lambda record: None, ranks)
        run.execute(spec("ppo"), RunStore(folder / "broken"), lambda record: None, ranks)


if __name__ == "__main__":
    torch.manual_seed(0)
    try:
        main()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the other process is not to be waited for
