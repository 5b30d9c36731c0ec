"""The value rules' losses a second time, in plain Python: no torch, no shared formula, one transition at a time.

Sources: DQN Mnih et al. 2015, double 1509.06461 eq. 4, dueling 1511.06581 eq. 9; SAC 1812.05905 eq. 5, 7, 18, its first form 1801.01290
eq. 5 to 13, discrete 1910.07207; CQL 2006.04779 eq. 4 and 30 with the estimate of appendix F; density of tanh by change of variables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Row = list[float]
Settings = dict[str, Any]


@dataclass
class Step:
    """One transition; the discrete action is a number, the continuous one a list."""

    obs: Row
    action: Any
    reward: float
    next_obs: Row
    terminal: float
    discount: float


@dataclass
class Plain:
    """What one seed's losses are made from. Weights are [copy][in][out] and [copy][0][out], parameters a list."""

    weights: dict[str, list[Any]]
    steps: list[Step]
    noise: dict[str, list[Row]]  # k-th draw of transition i at row k * transitions + i

    def asked(self, name: str, x: Row) -> list[Row]:
        """Each copy's outputs."""
        found = []
        for first, bias, last, shift in zip(*self.weights[name], strict=True):
            hidden = [math.tanh(dot(x, column) + b) for column, b in zip(zip(*first, strict=True), bias[0], strict=True)]
            found.append([dot(hidden, column) + b for column, b in zip(zip(*last, strict=True), shift[0], strict=True)])
        return found

    def one(self, name: str, x: Row) -> Row:
        (found,) = self.asked(name, x)
        return found

    def draws(self, name: str, i: int) -> list[Row]:
        return self.noise[name][i :: len(self.steps)]


def dot(x: Any, y: Any) -> float:
    return math.fsum(a * b for a, b in zip(x, y, strict=True))


def log_sum_exp(x: Row) -> float:
    return max(x) + math.log(math.fsum(math.exp(v - max(x)) for v in x))


def squashed(output: Row, noise: Row) -> tuple[Row, float]:
    """The action and its log-density: that of the Gaussian over the slope of tanh, 1 / cosh^2."""
    half = len(output) // 2
    action, logp = [], 0.0
    for mean, log_std, z in zip(output[:half], output[half:], noise, strict=True):
        deviation = math.exp(min(max(log_std, -20.0), 2.0))
        u = mean + deviation * z
        density = math.exp(-(((u - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))
        action.append(math.tanh(u))
        logp += math.log(density * math.cosh(u) ** 2)
    return action, logp


def losses(rule: str, settings: Settings, discrete: bool, p: Plain) -> dict[str, Row]:
    """The loss of every transition, by what it moves, in the order of the moves."""
    kind = {"dqn": dqn, "bc": bc, "sac": sac, "cql": discrete_cql if discrete else continuous_cql}[rule]
    each = [kind(settings, discrete, p, i) for i in range(len(p.steps))]
    return {name: [row[name] for row in each] for name in each[0]}


def dqn(settings: Settings, _: bool, p: Plain, i: int) -> dict[str, float]:
    step, get = p.steps[i], settings.get

    def values(name: str, x: Row) -> Row:
        out = p.one(name, x)
        if not get("dueling", False):
            return out
        mean = math.fsum(out[1:]) / len(out[1:])
        return [out[0] + a - mean for a in out[1:]]

    after = values("q_target", step.next_obs)
    if get("double", False):
        own = values("q", step.next_obs)
        best = after[own.index(max(own))]
    else:
        best = max(after)
    target = step.reward + (0.0 if step.terminal else step.discount * best)
    error = abs(values("q", step.obs)[step.action] - target)
    if get("loss", "huber") == "mse":
        return {"q": error**2}
    return {"q": error**2 / 2 if error < 1 else error - 0.5}


def bc(_: Settings, discrete: bool, p: Plain, i: int) -> dict[str, float]:
    step = p.steps[i]
    out = p.one("policy", step.obs)
    if discrete:
        return {"policy": log_sum_exp(out) - out[step.action]}
    return {"policy": math.fsum((math.tanh(x) - a) ** 2 for x, a in zip(out, step.action, strict=True))}


def policy(p: Plain, x: Row) -> list[tuple[float, float]]:
    """Probability and log-probability of each discrete action."""
    out = p.one("policy", x)
    return [(math.exp(v - log_sum_exp(out)), v - log_sum_exp(out)) for v in out]


def critics(p: Plain, name: str, x: Row, action: Any) -> Row:
    """Both critics' values of an action."""
    if isinstance(action, int):
        return [out[action] for out in p.asked(name, x)]
    return [out for (out,) in p.asked(name, [*x, *action])]


def soft(p: Plain, name: str, x: Row, alpha: float, noise: Row | None) -> tuple[float, float]:
    """Value with entropy of a state under the policy, and the expected log-probability."""
    if noise is None:
        chances = policy(p, x)
        low = [min(pair) for pair in zip(*p.asked(name, x), strict=True)]
        return (
            math.fsum(c * (q - alpha * logp) for (c, logp), q in zip(chances, low, strict=True)),
            math.fsum(c * logp for c, logp in chances),
        )
    action, logp = squashed(p.one("policy", x), noise)
    return min(critics(p, name, x, action)) - alpha * logp, logp


def sac(settings: Settings, discrete: bool, p: Plain, i: int) -> dict[str, float]:
    step, get, first = p.steps[i], settings.get, settings.get("version", "v2") == "v1"
    now, ahead = (None, None) if discrete else (p.draws("now", i)[0], p.draws("next", i)[0])
    learnt = get("learn_temperature", True) and not first
    alpha = math.exp(p.weights["log_temperature"][0][0]) if learnt else get("temperature", 1.0)
    value, logp = soft(p, "q", step.obs, alpha, now)
    found = {}
    if learnt:
        width = len(p.one("policy", step.obs))
        wanted = get("target_entropy")
        if wanted is None:
            wanted = 0.89 * math.log(width) if discrete else -width / 2
        scale = alpha if get("temperature_loss", "log") == "linear" else math.log(alpha)
        found["log_temperature"] = -scale * (logp + wanted)
    after = p.one("value_target", step.next_obs)[0] if first else soft(p, "q_target", step.next_obs, alpha, ahead)[0]
    target = step.reward + (0.0 if step.terminal else step.discount * after)
    found["q"] = math.fsum((q - target) ** 2 / 2 for q in critics(p, "q", step.obs, step.action))
    if first:
        found["value"] = (p.one("value", step.obs)[0] - value) ** 2 / 2
    return found | {"policy": -value}


def held(settings: Settings, p: Plain, gaps: Row) -> tuple[dict[str, float], Row]:
    """The multiplier's loss where there is one, and what each critic's loss gains."""
    weight, threshold = settings.get("weight", 1.0), settings.get("threshold")
    if threshold is None:
        return {}, [weight * gap for gap in gaps]
    terms = [math.exp(m) * weight * (gap - threshold) for m, gap in zip(p.weights["log_multiplier"][0], gaps, strict=True)]
    return {"log_multiplier": -math.fsum(terms)}, terms


def discrete_cql(settings: Settings, _: bool, p: Plain, i: int) -> dict[str, float]:
    step = p.steps[i]
    values = p.one("q", step.obs)
    found, (penalty,) = held(settings, p, [log_sum_exp(values) - values[step.action]])
    return found | {"q": dqn({"double": True}, True, p, i)["q"] + penalty}


def continuous_cql(settings: Settings, _: bool, p: Plain, i: int) -> dict[str, float]:
    step, get = p.steps[i], settings.get
    like = {"temperature_loss": "linear"} | {k: settings[k] for k in ("learn_temperature", "temperature") if k in settings}
    found = sac(like, False, p, i)
    actor = found.pop("policy")
    del found["q"]
    drawn = [squashed(p.one("policy", step.obs), z) for z in p.draws("here", i)]
    drawn += [squashed(p.one("policy", step.next_obs), z) for z in p.draws("there", i)]
    drawn += [([2 * x - 1 for x in z], math.log(0.5 ** len(z))) for z in p.draws("anywhere", i)]
    counted = get("importance", True)
    each = [[q - (logp if counted else 0.0) for q in critics(p, "q", step.obs, action)] for action, logp in drawn]
    data = critics(p, "q", step.obs, step.action)
    gaps = [log_sum_exp(list(one)) - q for one, q in zip(zip(*each, strict=True), data, strict=True)]
    multiplier, penalty = held(settings, p, gaps)
    target = step.reward + (0.0 if step.terminal else step.discount * _backup(settings, p, i))
    return found | multiplier | {"q": math.fsum((q - target) ** 2 + extra for q, extra in zip(data, penalty, strict=True)), "policy": actor}


def _backup(settings: Settings, p: Plain, i: int) -> float:
    after, kind = p.steps[i].next_obs, settings.get("backup", "mean_action")
    out, alpha = p.one("policy", after), settings.get("temperature", 1.0)
    if settings.get("learn_temperature", True):
        alpha = math.exp(p.weights["log_temperature"][0][0])
    if kind == "mean_action":
        return min(critics(p, "q_target", after, [math.tanh(x) for x in out[: len(out) // 2]]))
    action, logp = squashed(out, p.draws("next", i)[0])
    return min(critics(p, "q_target", after, action)) - (alpha * logp if kind == "soft" else 0.0)
