"""Every metric on curves small enough to work out by hand, near ones that must give another number, and those that leave it undefined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy
import pytest

from bench import registry
from bench.errors import ConfigError

NAN = math.nan
Given = dict[str, Sequence[float]]


def measure(name: str, given: Given | list[Given], **settings: Any) -> float:
    """The metric `name`, with these settings, of columns as lists."""
    metric = registry.load("metrics", name)(**settings)
    if isinstance(given, list):
        return float(metric([{key: numpy.array(values, dtype=float) for key, values in one.items()} for one in given]))
    return float(metric({key: numpy.array(values, dtype=float) for key, values in given.items()}))


def scores(*values: float, every: int = 100) -> Given:
    """A curve that has an evaluation each `every` samples and nothing else."""
    n = range(len(values))
    return {"step": list(n), "samples": [every * i for i in n], "eval_score": values}


def probe(name: str, *values: float) -> Given:
    """A curve of training steps, after a start without."""
    return {"step": list(range(len(values) + 1)), "samples": [100 * i for i in range(len(values) + 1)], name: [NAN, *values]}


# Five records of which four evaluate: 0.2 -> 0.6 -> 0.3 -> 0.5 at 0, 100, 300 and 400 samples.
SHORT = {
    "step": [0, 1, 2, 3, 4],
    "samples": [0, 100, 200, 300, 400],
    "tokens": [0, 1100, 2300, 3600, 5000],
    "verifier_calls": [0, 90, 180, 270, 360],
    "cpu_seconds": [0.5, 1.5, 2.0, 3.5, 4.5],
    "budget": [400] * 5,
    "eval_score": [0.2, 0.6, NAN, 0.3, 0.5],
    "entropy/token": [NAN, 1.2, 0.4, 0.7, 0.9],
}
# Of one rule, the numbers that follow from them are: changes +0.4, -0.3, +0.2; drawdowns 0, 0, 0.3, 0.1.
CASES: list[tuple[str, Given | list[Given], dict[str, Any], float]] = [
    ("final_score", SHORT, {}, 0.5),
    ("best_score", SHORT, {}, 0.6),
    ("area_under_curve", SHORT, {}, (0.4 * 100 + 0.45 * 200 + 0.4 * 100) / 400),
    ("area_under_curve", scores(0.4), {}, NAN),
    ("area_under_curve", {"samples": [100, 200, 400], "eval_score": [0.2, 0.4, 0.8]}, {}, 0.5),
    ("area_under_curve", {"samples": [100, 100], "eval_score": [0.2, 0.4]}, {}, NAN),
    ("samples_to_threshold", SHORT, {}, 100),
    ("samples_to_threshold", SHORT, {"threshold": 0.2}, 0),
    ("samples_to_threshold", SHORT, {"threshold": 0.6}, 100),
    ("samples_to_threshold", SHORT, {"threshold": 0.61}, NAN),
    ("tokens_to_threshold", SHORT, {}, 1100),
    ("tokens_to_threshold", SHORT, {"threshold": 0.61}, NAN),
    ("verifier_calls_to_threshold", SHORT, {}, 90),
    ("verifier_calls_to_threshold", SHORT, {"threshold": 0.1}, 0),
    ("verifier_calls_to_threshold", SHORT | {"verifier_calls": [0] * 5}, {}, NAN),
    ("cpu_seconds_to_threshold", SHORT, {}, 1.5),
    ("score_at_fraction", SHORT, {}, 0.45),  # at 200 samples, half way from 0.6 at 100 to 0.3 at 300
    ("score_at_fraction", SHORT, {"fraction": 0.25}, 0.6),
    ("score_at_fraction", SHORT, {"fraction": 0}, 0.2),
    ("score_at_fraction", SHORT, {"fraction": 1}, 0.5),
    ("score_at_fraction", SHORT | {"budget": [801] * 5}, {}, NAN),  # half of it is not spent yet
    ("score_at_fraction", SHORT | {"budget": [800] * 5}, {}, 0.5),
    ("maximum_drawdown", SHORT, {}, 0.3),
    ("maximum_drawdown", scores(0.2, 0.3, 0.9), {}, 0),
    ("maximum_drawdown", scores(0.4), {}, 0),
    # Sorted changes -0.3, 0.2, 0.4: the quartiles lie half way at -0.05 and 0.3.
    ("dispersion_across_time", SHORT, {}, 0.35),
    # Windows of two changes: (0.4, -0.3) and (-0.3, 0.2) have 0.35 and 0.25 between their quartiles.
    ("dispersion_across_time", SHORT, {"window": 2}, 0.3),
    ("dispersion_across_time", scores(0.1, 0.3, 0.5, 0.7), {}, 0),  # a steady rise
    ("dispersion_across_time", scores(0.1, 0.3), {}, NAN),
    ("dispersion_across_time", scores(0.1, 0.3, 0.4), {}, 0.05),
    ("short_term_risk", SHORT, {}, 0.3),
    ("short_term_risk", SHORT, {"alpha": 0.6}, 0.05),  # up to the change of 0.24: falls of 0.3 and -0.2
    ("short_term_risk", scores(0.1, 0.2, 0.4), {}, -0.1),  # at worst it rises by 0.1
    ("short_term_risk", scores(0.4), {}, NAN),
    ("long_term_risk", SHORT, {}, 0.3),
    ("long_term_risk", SHORT, {"alpha": 0.4}, 0.2),  # drawdowns from 0.08 up: 0.3 and 0.1
    ("long_term_risk", scores(0.4), {}, 0),
    # A gain of 0.5 over the start, of which half may go: from evaluation 4 on all lie below 0.5.
    ("collapse_step", scores(0.25, 0.75, 0.4, 0.5, 0.49, 0.1, 0.45), {}, 4),
    ("collapse_step", scores(0.25, 0.75, 0.4, 0.5, 0.49, 0.1, 0.45), {"share": 0.25}, 2),  # all from there lie below 0.625
    ("collapse_step", scores(0.25, 0.75, 0.4, 0.5, 0.49, 0.1, 0.5), {}, NAN),  # it comes back
    ("collapse_step", scores(0.25, 0.5, 0.3, 0.75, 0.4), {}, 4),  # what it came back from does not count
    ("collapse_step", scores(0.25, 0.75, 0.4), {}, 2),
    ("collapse_step", scores(0.25, 0.28125, 0.125), {}, NAN),  # there was too little to lose
    ("collapse_step", scores(0.25, 0.36, 0.125), {}, 2),
    ("collapse_step", scores(0.25, 0.28125, 0.125), {"least_gain": 0.03125}, 2),
    ("collapse_step", scores(0.9, 0.5, 0.1), {}, NAN),  # it never gained anything
    ("collapse_step", {**scores(0.25, 0.75, 0.4), "step": [0, 10, 20]}, {}, 20),
    ("collapse_rate", [scores(0.25, 0.75, 0.4), scores(0.25, 0.75, 0.6), scores(0.25, 0.75, 0.5), {"step": [0]}], {}, 1 / 3),
    ("collapse_rate", [scores(0.25, 0.75, 0.4), scores(0.25, 0.75, 0.6)], {"share": 0.25}, 1),
    ("collapse_rate", [scores(0.25, 0.28125, 0.125)], {}, 0),
    ("collapse_rate", [scores(0.25, 0.28125, 0.125)], {"least_gain": 0.03125}, 1),
    ("divergence_rate", [{"diverged": [1, 1]}, {"diverged": [0]}, {"diverged": [0]}, {"step": [0]}, {"diverged": [0]}], {}, 0.25),
    # At both evaluations three seeds: quartiles of 0, 0.1, 0.4 at 0.05 and 0.25; of 0.2, 0.4, 0.8 at 0.3 and 0.6.
    ("dispersion_across_runs", [scores(0.1, 0.2), scores(0, 0.8), scores(0.4, 0.4)], {}, (0.2 + 0.3) / 2),
    ("dispersion_across_runs", [scores(0.1, 0.2)], {}, NAN),
    # Two seeds, of which one ends early: 0.1 and 0.2 apart, then alone.
    ("dispersion_across_runs", [scores(0.1, 0.3), scores(0.2, 0.5, 0.9)], {}, (0.05 + 0.1) / 2),
    ("dispersion_across_runs", [scores(0.1, 0.3), scores(0.2, 0.5, 0.9), scores(0.2, 0.4, 0.5)], {}, (0.05 + 0.1 + 0.2) / 3),
    # The second evaluates at 0 and 200 alone, and is taken half way at 100.
    ("dispersion_across_runs", [scores(0.1, 0.3, 0.5), scores(0.1, 0.9, every=200)], {}, (0 + 0.1 + 0.2) / 3),
    ("risk_across_runs", [scores(0.2, 0.7), scores(0.1, 0.3), scores(0, 0.5), {"step": [0]}], {}, 0.3),
    ("risk_across_runs", [scores(0.2, 0.7), scores(0.1, 0.3), scores(0, 0.5)], {"alpha": 0.5}, 0.4),  # up to the median
    ("risk_across_runs", [scores(0.2, 0.7) | {"diverged": [1, 1]}, scores(0, 0.5) | {"diverged": [0, 0]}], {}, 0.5),
    ("risk_across_runs", [scores(0.2, 0.7) | {"diverged": [1, 1]}, scores(0, 0.5) | {"diverged": [0, 0]}], {"diverged": 0.1}, 0.1),
    ("risk_across_runs", [scores(0.2, 0.7) | {"diverged": [1, 1]}, scores(0, 0.5) | {"diverged": [0, 0]}], {"diverged": 0.6}, 0.5),
    ("risk_across_runs", [scores(0, n) for n in range(41)], {}, 1),  # of 0, 1 and 2
    # Ten steps to compare with; then 5 times their median is no spike, and a hair more is.
    ("gradient_norm_spikes", probe("grad/norm", *[1] * 9, 3, 5, 5.01, 1, 1), {}, 1 / 4),
    ("gradient_norm_spikes", probe("grad/norm", *[1] * 9, 3, 5, 5.01, 1, 1), {"factor": 4.9}, 2 / 4),
    ("gradient_norm_spikes", probe("grad/norm", 1, 3, 10.1, 33), {"window": 2}, 2 / 2),  # medians of 2, then of 6.55
    ("gradient_norm_spikes", probe("grad/norm", 1, 3, 10, 33), {"window": 2}, 1 / 2),
    ("gradient_norm_spikes", probe("grad/norm", 1, 2, 4, 8), {"window": 3}, 0),  # a median of 2
    ("gradient_norm_spikes", probe("grad/norm", 1, 2, 4, 10.1), {"window": 3}, 1),
    ("gradient_norm_spikes", probe("grad/norm", 1, 4, 21), {"window": 1}, 1 / 2),
    ("gradient_norm_spikes", probe("grad/norm_policy", *[1] * 10, 9), {}, 1),
    ("gradient_norm_spikes", probe("grad/norm", *[0] * 10, 9, *[1] * 9), {}, 0),  # a median of 0 is none: it counts from the first 0.5
    ("gradient_norm_spikes", probe("grad/norm", *[0] * 12), {}, NAN),
    ("gradient_norm_spikes", probe("grad/norm", *[1] * 10), {}, NAN),
    ("gradient_norm_spikes", probe("grad/norm", *[1] * 5), {}, NAN),
    ("entropy_floor", SHORT, {}, 0.4),
    ("entropy_floor", probe("entropy/policy", 1, -3, 2), {}, -3),
    # Over 100 to 400 samples: offsets -150, -50, 50, 150 and entropies 1.2, 0.4, 0.7, 0.9: -30 / 50,000 a sample.
    ("entropy_slope", SHORT, {}, 1000 * (-150 * 1.2 - 50 * 0.4 + 50 * 0.7 + 150 * 0.9) / 50_000),
    ("entropy_slope", probe("entropy/token", 0.9, 0.7, 0.5), {}, -2),
    ("entropy_slope", probe("entropy/token", 0.9), {}, NAN),
    ("entropy_collapse_step", probe("entropy/token", 1, 0.09, 0.1, 0.09, 0.05), {}, 4),
    ("entropy_collapse_step", probe("entropy/token", 1, 0.09, 0.1, 0.09, 0.05), {"share": 0.11}, 2),
    ("entropy_collapse_step", probe("entropy/token", 1, 0.05, 0.2), {}, NAN),
    ("entropy_collapse_step", probe("entropy/policy", -1, -5, -6), {}, NAN),
    ("entropy_collapse_step", probe("entropy/policy", -0.5, -5, -6), {}, NAN),
    ("entropy_collapse_step", probe("entropy/policy", 0, -5, -6), {}, NAN),
    ("entropy_collapse_step", probe("entropy/policy", 0.5, -5, -6), {}, 2),
    # 1.2 - 0.9 nats for 0.5 - 0.2; the first score comes before the first entropy.
    ("entropy_per_score", SHORT, {}, 1),
    ("entropy_per_score", SHORT, {"least_gain": 0.31}, NAN),
    ("entropy_per_score", SHORT | {"eval_score": [0.25, 0.6, NAN, 0.3, 0.31]}, {}, 0.3 / 0.06),
    ("entropy_per_score", SHORT | {"eval_score": [0.25, 0.6, NAN, 0.3, 0.29]}, {}, NAN),
    ("entropy_per_score", SHORT | {"eval_score": [0.25, 0.6, NAN, 0.3, 0.5]}, {"least_gain": 0.25}, 1.2),
    ("entropy_per_score", SHORT | {"eval_score": [0.5, 0.6, NAN, 0.3, 0.2]}, {}, NAN),
    ("entropy_per_score", SHORT | {"eval_score": [0.2, 0.6, NAN, 0.3, 0.35]}, {}, 2),
    ("mean_gate", probe("gate", 1, 0.5, NAN, 0.9), {}, 0.8),
    ("kl_to_old", probe("kl_old/k3", 0.1, 0.3), {}, 0.2),
    ("kl_to_start", probe("kl_ref/k3", 0.5, 0.3), {}, 0.3),
    ("kl_to_start", probe("kl_ref/k1", 0.5, 0.4), {}, 0.4),
    ("ratio_tail", probe("ratio/max", 1.5, 9, 2), {}, 9),
    ("effective_sample_size", probe("ratio/ess", 1, 0.5), {}, 0.75),
    ("length_drift", {"eval/length": [10, 30, 15], "eval/pass@1": [0, 0, 0]}, {}, 0.5),
    ("length_drift", {"eval/length": [10, 5], "eval/pass@1": [0, 0]}, {}, -0.5),
    ("length_drift", {"eval/length": [10], "eval/pass@1": [0]}, {}, NAN),
    ("length_drift", {"eval/length": [0, 5], "eval/pass@1": [0, 0]}, {}, NAN),
    ("length_drift", {"eval/length": [10, 30], "eval/return": [0, 0]}, {}, NAN),  # of an episode
    ("truncation", {"eval/truncated": [0.5, 0.25], "eval/pass@1": [0, 0]}, {}, 0.25),
    ("truncation", {"eval/truncated": [0.5, 0.25], "eval/return": [0, 0]}, {}, NAN),
    ("pass_at_k_gap", {"eval/pass@1": [0.1, 0.4], "eval/pass@2": [0.2, 0.5], "eval/pass@8": [0.3, 0.9]}, {}, 0.5),
    ("pass_at_k_gap", {"eval/pass@1": [0.1, 0.4], "eval/pass@2": [0.2, 0.5]}, {}, 0.1),
    ("pass_at_k_gap", {"eval/pass@1": [0.1, 0.4]}, {}, NAN),
    ("lenient_gap", {"eval/lenient": [0.9, 0.6], "eval/strict": [0.1, 0.4]}, {}, 0.2),
    # Gaps of 0.1, 0.2, 0.3 and 0.6 at the evaluations that have a reward.
    ("reward_hacking_gap", scores(0, 0.5, 0.5, 0.5, 0.1) | {"reward/mean": [NAN, 0.6, 0.7, 0.8, 0.7]}, {}, 1.1 / 3),
    ("reward_hacking_gap", scores(0, 0.5, 0.5, 0.5, 0.1) | {"reward/mean": [NAN, 0.6, 0.7, 0.8, 0.7]}, {"evaluations": 1}, 0.6),
    ("reward_hacking_gap", scores(0.5, 0.4) | {"reward/mean": [3, 2], "eval/model_belief": [0.6, 0.9]}, {}, 0.3),
]


@pytest.mark.parametrize(("name", "given", "settings", "wanted"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_by_hand(name: str, given: Given | list[Given], settings: dict[str, Any], wanted: float) -> None:
    assert measure(name, given, **settings) == pytest.approx(wanted, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["short_term_risk", "long_term_risk", "maximum_drawdown"])
def test_no_risk_is_no_negative_zero(name: str) -> None:
    assert math.copysign(1, measure(name, scores(0.4, 0.4, 0.4))) == 1


def sampling(rounds: Sequence[float], kept: Sequence[float], **more: Sequence[float]) -> Given:
    """A curve of a rule that resamples: after the start, each step's rounds and share kept."""
    n = len(rounds) + 1
    counts = {"step": list(range(n)), "samples": [128 * i for i in range(n)], "tokens": [1000 * i for i in range(n)]}
    probes = {"adv/pos_frac": [NAN, *[0.5] * (n - 1)], "sampling/rounds": [NAN, *rounds], "sampling/kept_frac": [NAN, *kept]}
    return counts | probes | more


def test_completions_discarded() -> None:
    """Three rounds of which 5/12 are kept fill a batch and waste 2 of 3; two of which 1/4 is kept use half a batch of 2."""
    assert measure("completions_discarded", sampling([3], [5 / 12])) == pytest.approx(2 / 3)
    assert measure("completions_discarded", sampling([2], [1 / 4])) == pytest.approx(3 / 4)
    assert measure("completions_discarded", sampling([3, 2, 1], [5 / 12, 1 / 4, 1])) == pytest.approx(1 - (1 + 0.5 + 1) / 6)
    assert measure("completions_discarded", sampling([3, NAN], [5 / 12, NAN])) == pytest.approx(1 - 2 / 4)  # that step dropped nothing
    skipped = sampling([10, 1], [0, 1]) | {"adv/pos_frac": [NAN, NAN, 0.5]}
    assert measure("completions_discarded", skipped) == pytest.approx(10 / 11)


def test_nothing_is_discarded_only_where_that_is_known() -> None:
    known = {"step": [0, 1], "samples": [0, 128], "tokens": [0, 900], "adv/pos_frac": [NAN, 0.5]}
    unknown = {name: column for name, column in known.items() if name != "adv/pos_frac"} | {"pairs/count": [NAN, 32]}
    for name in ("completions_discarded", "tokens_discarded"):
        assert measure(name, known) == 0
        assert math.isnan(measure(name, unknown))
        assert math.isnan(measure(name, known | {"samples": [0, 0], "tokens": [0, 0]}))


def test_tokens_discarded() -> None:
    """Of 1000 tokens a quarter is used, of 3000 a half."""
    given = sampling([3, 2], [5 / 12, 1 / 4], tokens=[0, 1000, 4000]) | {"sampling/used_tokens_frac": [NAN, 0.25, 0.5]}
    assert measure("tokens_discarded", given) == pytest.approx(1 - (250 + 1500) / 4000)
    assert math.isnan(measure("tokens_discarded", sampling([3, 2], [5 / 12, 1 / 4])))  # completions differ in length
    assert math.isnan(measure("tokens_discarded", sampling([1, 1], [1, 0.75])))
    assert math.isnan(measure("tokens_discarded", sampling([1, 2], [1, 1])))
    assert measure("tokens_discarded", sampling([1, 1], [1, 1])) == 0
    partly = given | {"sampling/used_tokens_frac": [NAN, NAN, 0.5]}
    assert math.isnan(measure("tokens_discarded", partly))
    skipped = given | {"adv/pos_frac": [NAN, NAN, 0.5], "sampling/used_tokens_frac": [NAN, 0, 0.5]}
    assert measure("tokens_discarded", skipped) == pytest.approx(1 - 1500 / 4000)
    silent = given | {"sampling/rounds": [NAN, NAN, 2], "sampling/used_tokens_frac": [NAN, NAN, 0.5]}
    assert measure("tokens_discarded", silent) == pytest.approx(1 - (1000 + 1500) / 4000)


@pytest.mark.parametrize("name", registry.names("metrics"))
def test_every_metric_has_a_value_worked_out_by_hand(name: str) -> None:
    assert name in {case[0] for case in CASES if not math.isnan(case[3])} | {"completions_discarded", "tokens_discarded"}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("samples_to_threshold", {"threshold": NAN}, "threshold is nan"),
        ("score_at_fraction", {"fraction": 1.1}, "fraction is 1.1"),
        ("score_at_fraction", {"fraction": -0.1}, "fraction is -0.1"),
        ("dispersion_across_time", {"window": 1}, "window is 1"),
        ("short_term_risk", {"alpha": 0.0}, "alpha is 0.0"),
        ("long_term_risk", {"alpha": 1.0}, "alpha is 1.0"),
        ("risk_across_runs", {"alpha": NAN}, "alpha is nan"),
        ("collapse_step", {"share": 1.0}, "share is 1.0"),
        ("collapse_rate", {"least_gain": -0.1}, "least_gain is -0.1"),
        ("collapse_rate", {"least_gain": math.inf}, "least_gain is inf"),
        ("entropy_collapse_step", {"share": 0.0}, "share is 0.0"),
        ("entropy_per_score", {"least_gain": 0.0}, "least_gain is 0.0"),
        ("entropy_per_score", {"least_gain": math.inf}, "least_gain is inf"),
        ("gradient_norm_spikes", {"factor": math.inf}, "factor is inf"),
        ("gradient_norm_spikes", {"factor": 0.0}, "factor is 0.0"),
        ("gradient_norm_spikes", {"window": 0}, "window is 0"),
        ("reward_hacking_gap", {"evaluations": 0}, "evaluations is 0"),
    ],
)
def test_settings_without_sense_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.load("metrics", name)(**settings)
