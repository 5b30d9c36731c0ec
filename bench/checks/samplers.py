"""What a sampler promises, on the shipped base model of `last_digit`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch

from bench import registry
from bench.checks.expect import DoesNotApply, expect
from bench.errors import MissingError
from bench.policy import Policy
from bench.resolve import BASES
from bench.samplers.base import Completion, Sampler

PROMPTS, EACH, LIMIT = 5, 6, 3


def sampled(sampler: Sampler, policy: Policy, prompts: list[list[int]], seed: str, before: str = "") -> list[list[Completion]]:
    """What a fresh session gives, or one that has sampled with another seed `before`. Raises DoesNotApply where something is missing."""
    try:
        session = sampler.open(policy)
    except MissingError as missing:
        raise DoesNotApply(str(missing)) from missing
    try:
        if before:
            session.sample(prompts[:1], 1, LIMIT, before)
        return session.sample(prompts, EACH, LIMIT, seed)
    finally:
        session.close()


def setting() -> tuple[Policy, list[list[int]]]:
    """A policy and prompts of different lengths."""
    policy = Policy.load(BASES / "last_digit")
    problems = islice(registry.load("tasks", "last_digit")().problems("train", 0), PROMPTS)
    return policy, [policy.encode(problem.prompt[i % 3 :]) for i, problem in enumerate(problems)]


def completions_are_whole(sampler: Sampler) -> None:
    """As many completions as asked for, each of 1 to `limit` tokens, ended by the end token or marked as truncated, its text decoded."""
    policy, prompts = setting()
    groups = sampled(sampler, policy, prompts, "whole")
    expect([len(group) for group in groups] == [EACH] * PROMPTS, f"{EACH} completions per prompt came as {list(map(len, groups))}")
    for completion in (c for group in groups for c in group):
        tokens = completion.tokens
        expect(1 <= len(tokens) <= LIMIT, f"{len(tokens)} tokens with a limit of {LIMIT}")
        expect(len(completion.logp) == len(tokens), f"{len(tokens)} tokens have {len(completion.logp)} log-probabilities")
        expect(policy.end not in tokens[:-1], f"{tokens} go on after the end token {policy.end}")
        expect(completion.truncated == (tokens[-1] != policy.end), f"{tokens} are marked truncated={completion.truncated}")
        expect(completion.text == policy.decode(tokens), f"{tokens} are given as {completion.text!r}")


def seeds_decide(sampler: Sampler) -> None:
    """Sessions with one seed agree, whatever they said before, and torch's global generator is left alone."""
    policy, prompts = setting()
    state = torch.get_rng_state()
    fresh = sampled(sampler, policy, prompts, "a")
    expect(fresh == sampled(sampler, policy, prompts, "a"), "two sessions with one seed differ")
    expect(fresh == sampled(sampler, policy, prompts, "a", before="b"), "a session that has sampled before differs from one that has not")
    expect(torch.equal(state, torch.get_rng_state()), "torch's global generator was used")


def log_probabilities_are_the_policys(sampler: Sampler) -> None:
    """The log-probabilities are the training forward's: to 1e-5 where the sampler says it is exact, to 0.1 where not."""
    policy, prompts = setting()
    groups = sampled(sampler, policy, prompts, "exact")
    rows = [(prompt, c) for prompt, group in zip(prompts, groups, strict=True) for c in group]
    with torch.no_grad():
        own = policy.forward([prompt for prompt, _ in rows], [c.tokens for _, c in rows]).logp
    gap = max(abs(a - b) for (_, c), row in zip(rows, own.tolist(), strict=True) for a, b in zip(c.logp, row, strict=False))
    expect(gap < (1e-5 if sampler.exact else 0.1), f"log-probabilities differ from the training forward's by up to {gap:.2g}")


CONTRACTS: list[tuple[str, Callable[[Sampler], None]]] = [
    ("completions are whole", completions_are_whole),
    ("the seed decides", seeds_decide),
    ("log-probabilities are the policy's", log_probabilities_are_the_policys),
]
