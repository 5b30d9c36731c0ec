"""Losses and gradients against two computations that share no code with ours: stored cases of verl, and plain Python loops."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from independent import Paths, Rows, loss_and_slopes, value_loss_and_slopes
from torch import Tensor

from algorithms import ops
from algorithms.a2c import A2C
from algorithms.base import Batch, Credit, Forward, PolicyGradient
from algorithms.critic import ActorCritic
from algorithms.ppo import PPO
from algorithms.reinforce import Reinforce
from bench.registry import load

FILE = Path(__file__).parents[1].parent / "shared" / "oracle" / "losses_verl.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text())["cases"] if FILE.exists() else []
RULES = ("grpo", "dapo", "gspo", "sapo")
GRADIENTS = {"pg_token_mean": "tokens", "pg_seq_sum": "paths"}


def stored(*kinds: str) -> list[Any]:
    """The stored cases of some kinds, or one that is skipped where the file is absent."""
    found = [pytest.param(c, id=f"{c['kind']}-{n}") for n, c in enumerate(CASES) if c["kind"] in kinds]
    return found or [pytest.param({}, marks=pytest.mark.skip(reason=f"{FILE.name} is absent"))]


def matrix(rows: Rows) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def case_batch(case: dict[str, Any]) -> Batch:
    mask = matrix(case["mask"]).bool()
    last = torch.arange(mask.shape[1]) == mask.sum(-1, keepdim=True) - 1
    reward = last * torch.tensor(case["reward"], dtype=torch.float64).unsqueeze(-1)
    return Batch(group=torch.tensor(case["group"]), reward=reward, mask=mask, old_logp=matrix(case["old_logp"]))


def evaluated(rule: PolicyGradient, batch: Batch, now: Forward, credit: Credit | None = None) -> tuple[float, Tensor]:
    """Loss and its (B, T) slope along logp."""
    logp = now.logp.clone().requires_grad_()
    credit = credit or rule.credit(batch)
    loss = -(credit.weight * rule.objective(Forward(logp, now.entropy, now.value), batch, credit)).sum()
    (slope,) = torch.autograd.grad(loss, logp)
    return float(loss.detach()), slope


@pytest.mark.parametrize("case", stored(*RULES))
def test_group_rules_match_verl(case: dict[str, Any]) -> None:
    rule, batch = load("algorithms", case["kind"])(**case["params"]), case_batch(case)
    tolerance = 1e-7 if case["kind"] == "sapo" else 2e-8
    loss, slope = evaluated(rule, batch, Forward(matrix(case["logp"])))
    assert loss == pytest.approx(case["loss"], abs=tolerance)
    torch.testing.assert_close(slope, matrix(case["grad_logp"]), rtol=0, atol=tolerance)
    advantage = rule.credit(batch).advantage[:, 0]
    torch.testing.assert_close(advantage, torch.tensor(case["advantage"], dtype=torch.float64), rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", stored(*GRADIENTS))
def test_reinforce_matches_verl(case: dict[str, Any]) -> None:
    rule, batch = Reinforce(normaliser=GRADIENTS[case["kind"]]), case_batch(case)  # type: ignore[arg-type]
    advantage = ops.per_action(torch.tensor(case["advantage"], dtype=torch.float64), batch.mask)
    credit = Credit(advantage, rule.credit(batch).weight)
    loss, slope = evaluated(rule, batch, Forward(matrix(case["logp"])), credit)
    assert loss == pytest.approx(case["loss"], abs=2e-8)
    torch.testing.assert_close(slope, matrix(case["grad_logp"]), rtol=0, atol=2e-8)


@pytest.mark.parametrize("case", stored("gae"))
def test_generalised_advantages_match_verl(case: dict[str, Any]) -> None:
    plain, value = case_batch(case | {"group": [0] * len(case["mask"]), "old_logp": case["value"]}), matrix(case["value"])
    batch = replace(plain, old_value=value)
    credit = A2C(**case["params"]).credit(batch)
    assert credit.target is not None
    returns = ops.masked(matrix(case["returns"]), batch.mask)
    torch.testing.assert_close(credit.target, returns, rtol=0, atol=1e-12)
    torch.testing.assert_close(credit.advantage, ops.masked(returns - value, batch.mask), rtol=0, atol=1e-12)
    whitened = A2C(whiten=True, **case["params"]).credit(batch).advantage
    torch.testing.assert_close(whitened, ops.masked(matrix(case["whitened_advantage"]), batch.mask), rtol=0, atol=2e-8)


@pytest.mark.parametrize("case", stored("ppo_policy"))
def test_ppo_policy_loss_matches_verl(case: dict[str, Any]) -> None:
    rows = len(case["mask"])
    batch = case_batch(case | {"group": [0] * rows, "reward": [0.0] * rows})
    credit = Credit(ops.masked(matrix(case["advantage_tokens"]), batch.mask), ops.token_mean(batch.mask, torch.float64))
    loss, slope = evaluated(PPO(**case["params"]), batch, Forward(matrix(case["logp"])), credit)
    assert loss == pytest.approx(case["loss"], abs=2e-8)
    torch.testing.assert_close(slope, matrix(case["grad_logp"]), rtol=0, atol=2e-8)


@pytest.mark.parametrize("case", stored("kl"))
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_estimators_match_verl(case: dict[str, Any], estimator: str) -> None:
    """verl holds k3 within +-10; ours holds the log-ratio within +-20 and leaves the value."""
    logp = matrix(case["logp"])
    found = ops.kl_value(estimator, logp, matrix(case["ref_logp"]), torch.ones_like(logp).bool())
    torch.testing.assert_close(found.clamp(-10, 10) if estimator == "k3" else found, matrix(case[estimator]), rtol=0, atol=2e-8)


CRITICS: list[tuple[str, dict[str, Any]]] = [
    ("a2c", {}),
    ("a2c", {"gamma": 0.9, "lam": 0.7, "value_clip": 0.1, "kl": 0.2, "kl_estimator": "k1"}),
    ("a2c", {"whiten": True, "entropy_bonus": 0.1}),
    ("ppo", {}),
    ("ppo", {"clip": 0.05, "dual_clip": 1.1, "lam": 0.5, "value_clip": 0.05, "kl": 0.1, "kl_estimator": "k3"}),
    ("ppo", {"whiten": False, "value_clip": None, "gamma": 0.8}),
]
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("grpo", {}),
    ("grpo", {"clip": 0.05, "std_eps": 0.0}),
    ("grpo", {"clip": 0.1, "dual_clip": 1.3}),
    ("grpo", {"clip": 0.1, "dual_clip": 1.3, "kl": 0.2, "kl_estimator": "k3+", "entropy_bonus": 0.1}),
    *[("grpo", {"kl": 0.3, "kl_estimator": name}) for name in ("k1", "k2", "k3", "k3+", "ratio_k3")],
    ("dapo", {}),
    ("dapo", {"overlong_soft": False}),
    ("dapo", {"overlong_cache": 0.55, "clip_low": 0.1, "clip_high": 0.4}),
    ("dapo", {"overlong_filter": True}),
    ("dapo", {"group_average": True}),
    ("dapo", {"group_average": True, "overlong_filter": True, "kl": 0.1, "kl_estimator": "ratio_k3"}),
    ("gspo", {}),
    ("gspo", {"clip_low": 0.05, "clip_high": 0.08}),
    ("gspo", {"clip_low": 0.05, "clip_high": 0.08, "per_token": True}),
    ("gspo", {"clip_low": 0.05, "clip_high": 0.08, "kl": 0.2, "kl_estimator": "k2", "entropy_bonus": 0.05}),
    ("gspo", {"clip_low": 0.05, "clip_high": 0.08, "per_token": True, "kl": 0.2, "kl_estimator": "k1"}),
    ("sapo", {}),
    ("sapo", {"tau_pos": 3.0, "tau_neg": 0.5}),
    ("sapo", {"gate": "tanh"}),
    ("sapo", {"gate": "tanh", "eta": 3.0, "offset": 0.4, "clip": 0.1}),
    ("sapo", {"gate": "tanh_pessimistic"}),
    ("sapo", {"gate": "tanh_pessimistic", "eta": 3.0, "offset": -0.4, "clip": 0.1, "kl": 0.1}),
    *[("reinforce", {"baseline": name}) for name in ("none", "batch_loo", "group_loo", "ema", "whiten")],
    *[("reinforce", {"baseline": name, "gamma": 0.9}) for name in ("none", "batch_loo", "group_loo", "ema", "whiten")],
    ("reinforce", {"baseline": "ema", "decay": 0.5, "normaliser": "limit"}),
    ("reinforce", {"normaliser": "paths", "ratio_cap": 1.1}),
    ("reinforce", {"normaliser": "limit", "ratio_cap": 2.0, "kl": 0.2, "kl_estimator": "k1", "gamma": 0.8}),
    ("reinforce", {"baseline": "group_loo", "kl": 0.2, "kl_estimator": "k3", "entropy_bonus": 0.02}),
    ("rloo", {}),
    ("rloo", {"clip": 0.05, "kl": 0.1, "kl_estimator": "k1", "entropy_bonus": 0.02}),
    ("dr_grpo", {}),
    ("dr_grpo", {"clip": 0.1, "kl": 0.1, "kl_estimator": "k3"}),
    ("reinforce_plus_plus", {}),
    ("reinforce_plus_plus", {"gamma": 0.9, "clip": 0.1, "kl": 0.1, "kl_estimator": "k1"}),
    ("cispo", {}),
    ("cispo", {"ratio_floor": 0.9, "ratio_cap": 1.1, "kl": 0.1, "kl_estimator": "k2"}),
    ("gmpo", {}),
    ("gmpo", {"clip_low": 0.1, "clip_high": 0.2, "entropy_bonus": 0.1}),
    ("vespo", {}),
    ("vespo", {"k_pos": 0.5, "lam_pos": 0.0, "k_neg": 1.0, "lam_neg": 4.0}),
    *CRITICS,
]


def random_paths(name: str) -> Paths:
    """5 groups of 1 to 4 paths, 0 to 7 actions, two truncated; one group without spread and one that could not be scored."""
    random = Random(name)
    group = [g for g, size in ((3, 4), (0, 3), (9, 1), (4, 4), (5, 2)) for _ in range(size)]
    random.shuffle(group)
    lengths = [random.randint(1, 7) for _ in group]
    lengths[random.randrange(len(group))], width = 0, 9
    start = [random.randint(0, 2) for _ in group]  # actions need not begin in the first column
    mask = [[s <= t < s + n for t in range(width)] for s, n in zip(start, lengths, strict=True)]

    def table(low: float, high: float, around: Rows | None = None) -> Rows:
        return [[(around[i][t] if around else 0.0) + random.uniform(low, high) for t in range(width)] for i in range(len(group))]

    old, reward = table(-3, -0.05), table(-0.2, 0.2)
    for i, (s, n) in enumerate(zip(start, lengths, strict=True)):
        if n:
            reward[i][s + n - 1] += random.choice((0.0, 1.0, 0.5))
        if group[i] == 5:
            reward[i] = [0.0] * width
            reward[i][s] = 0.1
    now, ref = table(-0.5, 0.5, old), table(-0.4, 0.4, old)
    entropy, history, value = table(0, 2), [random.random() for _ in range(4)], table(0, 1)
    truncated = [n == 7 for n in lengths]
    return Paths(group, reward, mask, old, now, ref, entropy, truncated, 7, history, value, table(-0.4, 0.4, value))


def tensors(paths: Paths) -> tuple[Batch, Forward]:
    batch = Batch(
        group=torch.tensor(paths.group),
        reward=matrix(paths.reward),
        mask=torch.tensor(paths.mask),
        old_logp=matrix(paths.old),
        ref_logp=matrix(paths.ref),
        truncated=torch.tensor(paths.truncated),
        limit=paths.limit,
        history=torch.tensor(paths.history, dtype=torch.float64),
        old_value=matrix(paths.old_value),
    )
    return batch, Forward(matrix(paths.now), matrix(paths.entropy), matrix(paths.value))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("name", "settings"), SETTINGS, ids=lambda x: x if isinstance(x, str) else ",".join(f"{k}={v}" for k, v in x.items())
)
def test_rules_match_plain_python(name: str, settings: dict[str, Any], seed: int) -> None:
    paths = random_paths(f"oracle:{name}:{settings}:{seed}")
    loss, slope = evaluated(load("algorithms", name)(**settings), *tensors(paths))
    wanted, slopes = loss_and_slopes(name, settings, paths)
    assert math.isfinite(wanted)
    assert loss == pytest.approx(wanted, abs=1e-12, rel=1e-12)
    torch.testing.assert_close(slope, matrix(slopes), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "settings"), CRITICS, ids=str)
def test_critics_match_plain_python(name: str, settings: dict[str, Any], seed: int) -> None:
    paths = random_paths(f"critic:{name}:{settings}:{seed}")
    rule, (batch, now) = load("algorithms", name)(**settings), tensors(paths)
    assert isinstance(rule, ActorCritic) and now.value is not None
    value, credit = now.value.requires_grad_(), rule.credit(batch)
    loss = (credit.weight * rule.value_loss(value, batch, credit)).sum()
    (slope,) = torch.autograd.grad(loss, value)
    wanted, slopes = value_loss_and_slopes(name, settings, paths)
    assert float(loss.detach()) == pytest.approx(wanted, abs=1e-12)
    torch.testing.assert_close(slope, matrix(slopes), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", stored(*RULES))
def test_plain_python_matches_verl_too(case: dict[str, Any]) -> None:
    batch = case_batch(case)
    zeros = torch.zeros_like(batch.reward).tolist()
    paths = Paths(case["group"], batch.reward.tolist(), batch.mask.tolist(), case["old_logp"], case["logp"], zeros, zeros)
    loss, slopes = loss_and_slopes(case["kind"], case["params"], paths)
    assert loss == pytest.approx(case["loss"], abs=1e-7)
    torch.testing.assert_close(matrix(slopes), matrix(case["grad_logp"]), rtol=0, atol=1e-7)


def test_unscorable_paths_match_plain_python() -> None:
    for name in RULES:
        paths = random_paths(f"unscorable:{name}")
        paths.reward[2] = [math.nan] * 9
        loss, slope = evaluated(load("algorithms", name)(), *tensors(paths))
        wanted, slopes = loss_and_slopes(name, {}, paths)
        assert loss == pytest.approx(wanted, abs=1e-12)
        torch.testing.assert_close(slope, matrix(slopes), rtol=1e-12, atol=1e-12)
