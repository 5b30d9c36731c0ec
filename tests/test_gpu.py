"""What must hold on a CUDA device: `make gpu`. The same checks run on the CPU, unmarked, so that they are themselves tested."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch

from algorithms.base import Forward, PolicyGradient
from algorithms.value import ValueRule
from bench import registry
from bench.checks.batches import batch, forward, loss
from bench.config import TrainSettings
from bench.loops.progress import Progress
from bench.loops.setup import Plan, learner
from bench.loops.training import train
from bench.policy import Policy
from bench.resolve import BASES
from bench.samplers.hf import HF
from bench.verifying import Verifier

GPU = pytest.param("cuda", marks=pytest.mark.gpu)
on_both = pytest.mark.parametrize("device", ["cpu", GPU])
TASK = registry.load("tasks", "last_digit")()
ON_TEXT = [n for n in registry.names("algorithms") if not issubclass(registry.load("algorithms", n), ValueRule)]
POLICY_GRADIENTS = [n for n in registry.names("algorithms") if issubclass(registry.load("algorithms", n), PolicyGradient)]


def prompts(policy: Policy) -> list[list[int]]:
    """Ragged ones."""
    return [policy.encode(p.prompt[i % 3 :]) for i, p in enumerate(islice(TASK.problems("train", 0), 6))]


@on_both
def test_sampler_and_trainer_agree(device: str) -> None:
    policy = Policy.load(BASES / "last_digit", device)
    asked = prompts(policy)
    groups = HF().open(policy).sample(asked, 8, 4, "gpu")
    rows = [(prompt, c) for prompt, group in zip(asked, groups, strict=True) for c in group]
    with torch.no_grad():
        own = policy.forward([prompt for prompt, _ in rows], [c.tokens for _, c in rows]).logp.cpu()
    assert max(abs(a - b) for (_, c), row in zip(rows, own.tolist(), strict=True) for a, b in zip(c.logp, row, strict=False)) < 1e-4


@on_both
def test_the_forward_is_that_of_the_cpu(device: str) -> None:
    here, there = (Policy.load(BASES / "gsm8k", d) for d in ("cpu", device))
    problems = list(islice(registry.load("tasks", "gsm8k")().problems("train", 0), 6))
    asked, answers = [here.encode(p.prompt) for p in problems], [[*here.encode(p.answer), here.end] for p in problems]
    with torch.no_grad():
        a, b = here.forward(asked, answers), there.forward(asked, answers)
    torch.testing.assert_close(a.logp, b.logp.cpu(), atol=1e-4, rtol=0)
    assert a.entropy is not None and b.entropy is not None
    torch.testing.assert_close(a.entropy, b.entropy.cpu(), atol=1e-4, rtol=0)


@on_both
@pytest.mark.parametrize("name", ON_TEXT)
def test_every_rule_trains(name: str, device: str) -> None:
    """Probes are finite, the sampler's log-probabilities are the trainer's, and the weights move on their device."""
    policy = Policy.load(BASES / "last_digit", device)
    rule = registry.load("algorithms", name)()
    settings = TrainSettings(prompts=8, completions=4, eval_problems=4, eval_completions=2)
    held_out = list(islice(TASK.problems("heldout", 0), 4))
    with Verifier(TASK) as verifier:
        learns = learner(rule, policy, replace(settings, measure_kl=True), HF(), verifier)
        plan = Plan(TASK, held_out, settings, 0, 64, 10**9)
        before = policy.digest()
        records = list(islice(train(learns, plan, Progress()), 5))
    assert (policy.digest() != before) == (name != "untrained")
    assert all(torch.isfinite(torch.tensor(list(r.probes.values()))).all() for r in records)
    assert all(r.probes["rollout/logp_gap_max"] < 1e-4 for r in records if "rollout/logp_gap_max" in r.probes)
    assert {p.device.type for p in policy.parameters()} == {device}


@on_both
@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_losses_and_gradients_are_those_of_the_cpu(name: str, device: str) -> None:
    rule = registry.load("algorithms", name)()
    of = batch("gpu")
    now = forward(of, "gpu now")
    found = []
    for where in ("cpu", device):
        moved = of.to(torch.device(where))
        logp = now.logp.detach().to(where).requires_grad_()
        value = loss(rule, Forward(logp, value=None if now.value is None else now.value.detach().to(where)), moved, rule.credit(moved))
        value.backward()
        assert logp.grad is not None
        found.append((value.detach().cpu(), logp.grad.cpu()))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
