"""Every metric a second time, from its definition, in plain Python over lists of records. A missing value is absent from its record."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence

Row = dict[str, float]
Run = list[Row]  # in order of step


def column(run: Run, name: str) -> list[float]:
    return [row[name] for row in run if name in row]


def first_of(run: Run, *names: str) -> list[float]:
    return next((column(run, name) for name in names if column(run, name)), [])


def percentile(values: Sequence[float], share: float) -> float:
    """By a straight line between the two values around the place."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] * (1 - (place - below)) + ordered[above] * (place - below)


def spread(values: Sequence[float]) -> float:
    return percentile(values, 0.75) - percentile(values, 0.25)


def changes(run: Run) -> list[float]:
    scores = column(run, "eval_score")
    return [later - earlier for earlier, later in itertools.pairwise(scores)]


def drawdowns(run: Run) -> list[float]:
    scores = column(run, "eval_score")
    return [max(scores[: i + 1]) - score for i, score in enumerate(scores)]


def to_threshold(count: str) -> Callable[[Run], float | None]:
    return lambda run: next((row[count] for row in run if row.get("eval_score", 0) >= 0.5), None)


def at(run: Run, samples: float) -> float | None:
    """The score at so many samples, by a straight line between evaluations."""
    known = [(row["samples"], row["eval_score"]) for row in run if "eval_score" in row]
    for (left, low), (right, high) in itertools.pairwise(known):
        if left <= samples <= right:
            return low + (high - low) * (samples - left) / (right - left)
    return None


def area(run: Run) -> float:
    known = [(row["samples"], row["eval_score"]) for row in run if "eval_score" in row]
    pairs = itertools.pairwise(known)
    return sum((right - left) * (low + high) / 2 for (left, low), (right, high) in pairs) / (known[-1][0] - known[0][0])


def windows(run: Run, size: int = 5) -> float:
    found = changes(run)
    return statistics.mean(spread(found[i : i + size]) for i in range(len(found) - size + 1))


def collapse(run: Run) -> float | None:
    known = [row for row in run if "eval_score" in row]
    scores = [row["eval_score"] for row in known]
    for i, row in enumerate(known):
        best = max(scores[: i + 1])
        level = scores[0] + (best - scores[0]) / 2
        if best - scores[0] >= 0.1 and all(score < level for score in scores[i:]):
            return row["step"]
    return None


def narrowed(run: Run) -> float | None:
    known = [row for row in run if "entropy/token" in row]
    level = known[0]["entropy/token"] / 10
    return next((row["step"] for i, row in enumerate(known) if all(later["entropy/token"] < level for later in known[i:])), None)


def spikes(run: Run) -> float:
    norms = column(run, "grad/norm")
    return statistics.mean(norms[i] > 5 * statistics.median(norms[i - 10 : i]) for i in range(10, len(norms)))


def slope(run: Run) -> float:
    known = [(row["samples"] / 1000, row["entropy/token"]) for row in run if "entropy/token" in row]
    return statistics.linear_regression([x for x, _ in known], [y for _, y in known]).slope


def cost(run: Run) -> float | None:
    entropy, score = column(run, "entropy/token"), column(run, "eval_score")
    return (entropy[0] - entropy[-1]) / (score[-1] - score[0]) if score[-1] - score[0] >= 0.05 else None


def hacking(run: Run) -> float:
    return statistics.mean([row["reward/mean"] - row["eval_score"] for row in run if {"reward/mean", "eval_score"} <= row.keys()][-3:])


def discarded(run: Run) -> float:
    steps = [(row["sampling/rounds"], row["sampling/kept_frac"]) for row in run if "sampling/rounds" in row]
    used = sum(min(1, rounds * kept) for rounds, kept in steps)
    return 1 - used / sum(rounds for rounds, _ in steps)


def discarded_tokens(run: Run) -> float:
    used, before = 0.0, 0.0
    for row in run:
        used += (row["tokens"] - before) * row.get("sampling/used_tokens_frac", 0)
        before = row["tokens"]
    return 1 - used / before


def across_runs(runs: Sequence[Run]) -> float:
    points = sorted({row["samples"] for run in runs for row in run if "eval_score" in row})
    each = [[score for run in runs if (score := at(run, point)) is not None] for point in points]
    return statistics.mean(spread(scores) for scores in each if len(scores) > 1)


def lowest(values: Sequence[float], alpha: float = 0.05) -> float:
    return statistics.mean(value for value in values if value <= percentile(values, alpha) + 1e-12)  # or rounding leaves none of equal ones


RUN: dict[str, Callable[[Run], float | None]] = {
    "area_under_curve": area,
    "best_score": lambda run: max(column(run, "eval_score")),
    "collapse_step": collapse,
    "completions_discarded": discarded,
    "cpu_seconds_to_threshold": to_threshold("cpu_seconds"),
    "dispersion_across_time": windows,
    "effective_sample_size": lambda run: statistics.mean(column(run, "ratio/ess")),
    "entropy_collapse_step": narrowed,
    "entropy_floor": lambda run: min(column(run, "entropy/token")),
    "entropy_per_score": cost,
    "entropy_slope": slope,
    "final_score": lambda run: column(run, "eval_score")[-1],
    "gradient_norm_spikes": spikes,
    "kl_to_old": lambda run: statistics.mean(column(run, "kl_old/k3")),
    "kl_to_start": lambda run: column(run, "kl_ref/k3")[-1],
    "length_drift": lambda run: (column(run, "eval/length")[-1] - column(run, "eval/length")[0]) / column(run, "eval/length")[0],
    "lenient_gap": lambda run: column(run, "eval/lenient")[-1] - column(run, "eval/strict")[-1],
    "long_term_risk": lambda run: -lowest([-fall for fall in drawdowns(run)]),
    "maximum_drawdown": lambda run: max(drawdowns(run)),
    "mean_gate": lambda run: statistics.mean(column(run, "gate")),
    "pass_at_k_gap": lambda run: column(run, "eval/pass@8")[-1] - column(run, "eval/pass@1")[-1],
    "ratio_tail": lambda run: max(column(run, "ratio/max")),
    "reward_hacking_gap": hacking,
    "samples_to_threshold": to_threshold("samples"),
    "score_at_fraction": lambda run: at(run, run[0]["budget"] / 2),
    "short_term_risk": lambda run: -lowest(changes(run)),
    "tokens_discarded": discarded_tokens,
    "tokens_to_threshold": to_threshold("tokens"),
    "truncation": lambda run: column(run, "eval/truncated")[-1],
    "verifier_calls_to_threshold": to_threshold("verifier_calls"),
}
SEEDS: dict[str, Callable[[Sequence[Run]], float | None]] = {
    "collapse_rate": lambda runs: statistics.mean(collapse(run) is not None for run in runs),
    "dispersion_across_runs": across_runs,
    "divergence_rate": lambda runs: statistics.mean(run[-1]["diverged"] for run in runs),
    "risk_across_runs": lambda runs: lowest([column(run, "eval_score")[-1] for run in runs]),
}
