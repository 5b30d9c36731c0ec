"""The rules' losses and slopes a second time, in plain Python with derivatives written out by hand: no torch, no shared formula.

Sources: DeepSeekMath 2402.03300 eq. 3, DAPO 2503.14476 eq. 8 and 13, GSPO 2507.18071 eq. 5, 7, 13, SAPO 2511.20347 eq. 6, Williams 1992,
RLOO 2402.14740, dual-clip 1912.09729 eq. 5, KL estimators after Schulman 2020, GAE 1506.02438 eq. 16, PPO 1707.06347 eq. 7 and 9,
Dr. GRPO 2503.20783, REINFORCE++ 2501.03262, CISPO 2506.13585 eq. 4, GMPO 2507.20673 eq. 4, VESPO 2602.10693.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

Rows = list[list[float]]


@dataclass
class Paths:
    """One rollout batch and what the current policy says of it."""

    group: list[int]
    reward: Rows
    mask: list[list[bool]]
    old: Rows
    now: Rows
    ref: Rows
    entropy: Rows
    truncated: list[bool] = field(default_factory=list)
    limit: int | None = None
    history: list[float] = field(default_factory=list)
    old_value: Rows = field(default_factory=list)
    value: Rows = field(default_factory=list)

    def valid(self, i: int) -> list[int]:
        return [t for t, on in enumerate(self.mask[i]) if on]


def loss_and_slopes(rule: str, settings: dict[str, Any], paths: Paths) -> tuple[float, Rows]:
    """The loss, and its derivative along each current log-probability."""
    get = settings.get
    beta, estimator, bonus = get("kl", 0.0), get("kl_estimator", "k3"), get("entropy_bonus", 0.0)
    advantage, weight = _advantage(rule, settings, _shaped(settings, paths), paths), _weight(rule, settings, paths)
    value, slopes = 0.0, [[0.0] * len(row) for row in paths.now]
    for i in range(len(paths.group)):
        for t in paths.valid(i):
            own, slope = _surrogate(rule, settings, paths, i, t, advantage[i][t])
            penalty, pull = _penalty(estimator, paths, i, t) if beta and estimator != "k1" else (0.0, 0.0)
            value += weight[i][t] * (own - beta * penalty + bonus * paths.entropy[i][t])
            slopes[i][t] = -weight[i][t] * (slope - beta * pull)
    return -value, slopes


def value_loss_and_slopes(rule: str, settings: dict[str, Any], paths: Paths) -> tuple[float, Rows]:
    """The critic's loss, unweighted by value_coef, and its derivative along each current value."""
    clip = settings.get("value_clip", 0.5 if rule == "ppo" else None)
    advantage, weight = _generalised(rule, settings, _shaped(settings, paths), paths), _weight(rule, settings, paths)
    loss, slopes = 0.0, [[0.0] * len(row) for row in paths.value]
    for i in range(len(paths.group)):
        for t in paths.valid(i):
            old, now, target = paths.old_value[i][t], paths.value[i][t], paths.old_value[i][t] + advantage[i][t]
            error, slope = (now - target) ** 2 / 2, now - target
            if clip is not None and abs(now - old) > clip:
                bounded = old + math.copysign(clip, now - old) - target
                error, slope = (bounded**2 / 2, 0.0) if bounded**2 / 2 > error else (error, slope)
            loss += weight[i][t] * error
            slopes[i][t] = weight[i][t] * slope
    return loss, slopes


def _shaped(settings: dict[str, Any], paths: Paths) -> Rows:
    """Rewards with the pull that k1 puts there."""
    beta = settings.get("kl", 0.0) if settings.get("kl_estimator") == "k1" else 0.0
    return [[r - beta * (o - f) for r, o, f in zip(*rows, strict=True)] for rows in zip(paths.reward, paths.old, paths.ref, strict=True)]


def _advantage(rule: str, settings: dict[str, Any], rewards: Rows, paths: Paths) -> Rows:
    if rule == "reinforce":
        return _reinforce_advantage(settings, rewards, paths)
    if rule == "reinforce_plus_plus":
        return _reinforce_advantage(settings | {"baseline": "whiten"}, rewards, paths)
    if rule in ("a2c", "ppo"):
        plain = _generalised(rule, settings, rewards, paths)
        return _whitened(plain, paths) if settings.get("whiten", rule == "ppo") else plain
    return _group_advantage(rule, settings, rewards, paths)


def _weight(rule: str, settings: dict[str, Any], paths: Paths) -> Rows:
    if rule == "rloo":
        return _reinforce_weight({"normaliser": "paths"}, paths)
    if rule == "dr_grpo":
        return _reinforce_weight({"normaliser": "limit"}, paths)
    if rule in ("reinforce", "reinforce_plus_plus", "cispo", "vespo", "a2c", "ppo"):
        return _reinforce_weight(settings, paths)
    return _group_weight(rule, settings, paths)


def _surrogate(rule: str, settings: dict[str, Any], paths: Paths, i: int, t: int, a: float) -> tuple[float, float]:
    """Value and coefficient of grad log pi: the column of the unification table, before the averaging weight."""
    get, r = settings.get, math.exp(paths.now[i][t] - paths.old[i][t])
    if rule == "reinforce":
        share = 1.0 if get("ratio_cap") is None else min(r, settings["ratio_cap"])
        return share * paths.now[i][t] * a, share * a
    if rule == "a2c":
        return paths.now[i][t] * a, a
    if rule == "cispo":
        share = min(max(r, get("ratio_floor", 0.0)), get("ratio_cap", 5.0))
        return share * paths.now[i][t] * a, share * a
    if rule in ("rloo", "gmpo", "vespo"):
        return _whole_path(rule, settings, paths, i, t, a)
    if rule == "gspo":
        steps = paths.valid(i)
        s = math.exp(sum(paths.now[i][k] - paths.old[i][k] for k in steps) / len(steps))
        return _clip(s, a, get("clip_low", 3e-4), get("clip_high", 4e-4), None)
    if rule == "sapo":
        return _soft(settings, r, a)
    low = get("clip_low", 0.2) if rule == "dapo" else get("clip", 0.2)
    high = get("clip_high", 0.28) if rule == "dapo" else get("clip", 0.2)
    return _clip(r, a, low, high, get("dual_clip"))


def _whole_path(rule: str, settings: dict[str, Any], paths: Paths, i: int, t: int, a: float) -> tuple[float, float]:
    get, logs = settings.get, [paths.now[i][k] - paths.old[i][k] for k in paths.valid(i)]
    whole, own = math.fsum(logs), paths.now[i][t] - paths.old[i][t]
    if rule == "rloo":
        value, slope = _clip(math.exp(whole), a, get("clip", 0.2), get("clip", 0.2), None)
        return value / len(logs), slope
    if rule == "vespo":
        k, lam = (get("k_pos", 2.0), get("lam_pos", 3.0)) if a >= 0 else (get("k_neg", 3.0), get("lam_neg", 2.0))
        share = math.exp(whole) ** k * math.exp(lam * (1 - math.exp(whole)))
        return share * paths.now[i][t] * a, share * a
    low, high = get("clip_low", 0.4), get("clip_high", 0.4)
    bounded = [min(x, high) if a > 0 else max(x, -low) for x in logs]
    mean = math.prod(math.exp(x) for x in bounded) ** (1 / len(logs))
    return mean * a, mean * a * float(own <= high if a > 0 else own >= -low)


def _clip(r: float, a: float, low: float, high: float, dual: float | None) -> tuple[float, float]:
    if a > 0 and r > 1 + high:
        return (1 + high) * a, 0.0
    if a < 0 and r < 1 - low:
        return (1 - low) * a, 0.0
    if a < 0 and dual is not None and r > dual:
        return dual * a, 0.0
    return r * a, r * a


def _soft(settings: dict[str, Any], r: float, a: float) -> tuple[float, float]:
    get = settings.get
    if get("gate", "sigmoid") == "sigmoid":
        tau = get("tau_pos", 1.0) if a > 0 else get("tau_neg", 1.05)
        gate = 1 / math.cosh(tau * (r - 1) / 2) ** 2
        return 4 / tau / (1 + math.exp(-tau * (r - 1))) * a, r * gate * a
    band, lam = get("clip", 0.2), 0.5 * math.tanh(get("eta", 1.0) * (a - get("offset", 0.0))) + 0.5
    if settings["gate"] == "tanh_pessimistic":
        lam = 1 - lam
    if r > 1 + band:
        return ((1 - lam) * (1 + band) + lam * r) * a, lam * r * a
    if r < 1 - band:
        return ((1 - lam) * r + lam * (1 - band)) * a, (1 - lam) * r * a
    return r * a, r * a


def _penalty(estimator: str, paths: Paths, i: int, t: int) -> tuple[float, float]:
    """Value and derivative of the pull to the reference."""
    d = paths.now[i][t] - paths.ref[i][t]
    k3, r = math.exp(-d) - 1 + d, math.exp(paths.now[i][t] - paths.old[i][t])
    return {"k2": (d * d / 2, d), "k3": (k3, 1 - math.exp(-d)), "k3+": (k3, d), "ratio_k3": (r * k3, r * d)}[estimator]


def _group_advantage(rule: str, settings: dict[str, Any], rewards: Rows, paths: Paths) -> Rows:
    returns = [math.fsum(rewards[i][t] for t in paths.valid(i)) for i in range(len(rewards))]
    if rule == "dapo" and settings.get("overlong_soft", True) and paths.limit is not None:
        cache = settings.get("overlong_cache", 0.2) * paths.limit
        for i in range(len(returns)):
            over = len(paths.valid(i)) - (paths.limit - cache)
            returns[i] -= 0.0 if over <= 0 else over / cache if over <= cache else 1.0
    advantage = []
    for i, own in enumerate(returns):
        mates = [x for x, g in zip(returns, paths.group, strict=True) if g == paths.group[i] and not math.isnan(x)]
        if math.isnan(own) or len(mates) < 2 or max(mates) - min(mates) <= 1e-8 * max(map(abs, mates)):
            advantage.append(0.0)
            continue
        mean = math.fsum(mates) / len(mates)
        if rule in ("rloo", "dr_grpo"):
            advantage.append(own - (mean if rule == "dr_grpo" else (math.fsum(mates) - own) / (len(mates) - 1)))
            continue
        deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in mates) / (len(mates) - 1))
        advantage.append((own - mean) / (deviation + settings.get("std_eps", 1e-4)))
    return [[a] * len(row) for a, row in zip(advantage, rewards, strict=True)]


def _group_weight(rule: str, settings: dict[str, Any], paths: Paths) -> Rows:
    counts = [len(paths.valid(i)) for i in range(len(paths.group))]
    if rule == "dapo" and settings.get("overlong_filter", False):
        counts = [0 if cut else n for n, cut in zip(counts, paths.truncated, strict=True)]
    per_path = []
    in_group = {g: sum(n for n, h in zip(counts, paths.group, strict=True) if h == g) for g in paths.group}
    for n, g in zip(counts, paths.group, strict=True):
        if n == 0:
            per_path.append(0.0)
        elif rule != "dapo":
            per_path.append(1 / n / sum(1 for m in counts if m))
        elif settings.get("group_average", False):
            per_path.append(1 / in_group[g] / sum(1 for m in in_group.values() if m))
        else:
            per_path.append(1 / sum(counts))
    return [[w] * len(row) for w, row in zip(per_path, paths.reward, strict=True)]


def _reinforce_advantage(settings: dict[str, Any], rewards: Rows, paths: Paths) -> Rows:
    gamma, baseline = settings.get("gamma", 1.0), settings.get("baseline", "batch_loo")
    to_go = [[0.0] * len(row) for row in rewards]
    for i, row in enumerate(rewards):
        steps = paths.valid(i)
        for at, t in enumerate(steps):
            to_go[i][t] = math.fsum(gamma**k * row[later] for k, later in enumerate(steps[at:]))
    if baseline == "whiten":
        return _whitened(to_go, paths)
    returns = [to_go[i][steps[0]] if (steps := paths.valid(i)) else 0.0 for i in range(len(rewards))]
    return [[x - _baseline(baseline, settings, returns, i, paths) for x in row] for i, row in enumerate(to_go)]


def _whitened(rows: Rows, paths: Paths) -> Rows:
    pool = [rows[i][t] for i in range(len(rows)) for t in paths.valid(i)]
    mean = math.fsum(pool) / len(pool)
    scale = math.sqrt(math.fsum((x - mean) ** 2 for x in pool) / (len(pool) - 1) + 1e-8)
    return [[(x - mean) / scale for x in row] for row in rows]


def _generalised(rule: str, settings: dict[str, Any], rewards: Rows, paths: Paths) -> Rows:
    """The sum of (gamma lam)^k delta, written out for every action instead of run backwards."""
    gamma, lam = settings.get("gamma", 1.0), settings.get("lam", 0.95 if rule == "ppo" else 1.0)
    out = [[0.0] * len(row) for row in rewards]
    for i, row in enumerate(rewards):
        steps, value = paths.valid(i), paths.old_value[i]
        following = [*(value[t] for t in steps), 0.0][1:]
        delta = [row[t] + gamma * after - value[t] for t, after in zip(steps, following, strict=True)]
        for at, t in enumerate(steps):
            out[i][t] = math.fsum((gamma * lam) ** k * x for k, x in enumerate(delta[at:]))
    return out


def _baseline(name: str, settings: dict[str, Any], returns: list[float], i: int, paths: Paths) -> float:
    if name == "ema":
        average = paths.history[0] if paths.history else 0.0
        for value in paths.history[1:]:
            average = settings.get("decay", 0.9) * average + (1 - settings.get("decay", 0.9)) * value
        return average
    if name == "none":
        return 0.0
    others = [x for j, x in enumerate(returns) if j != i and (name == "batch_loo" or paths.group[j] == paths.group[i])]
    return math.fsum(others) / len(others) if others else returns[i]


def _reinforce_weight(settings: dict[str, Any], paths: Paths) -> Rows:
    counts = [len(paths.valid(i)) for i in range(len(paths.group))]
    width = len(paths.reward[0])
    longest = paths.limit or width
    nonempty = sum(1 for n in counts if n)
    share = {"tokens": sum(counts), "paths": nonempty, "limit": nonempty * longest}[settings.get("normaliser", "tokens")]
    return [[1 / share] * width for _ in counts]
