"""Every metric tells the better of two curves that differ in what it is about, by the direction that it declares."""

from __future__ import annotations

from typing import Any

import pytest
from test_metrics_by_hand import measure, probe, sampling, scores

from bench import registry

STEADY, UNSTEADY = scores(0.1, 0.2, 0.3, 0.4, 0.5, 0.6), scores(0.1, 0.5, 0.2, 0.6, 0.3, 0.6)
EARLY, LATE = scores(0.1, 0.6, 0.6, 0.6), scores(0.1, 0.2, 0.3, 0.6)
COUNTS = {"tokens": [0, 10, 20, 30], "verifier_calls": [0, 1, 2, 3], "cpu_seconds": [0, 1, 2, 3], "budget": [300] * 4}
WIDE, NARROW = probe("entropy/token", 1, 0.9, 0.8), probe("entropy/token", 1, 0.5, 0.05)
TEXT = {"eval/pass@1": [0.5, 0.5]}
PAIRS: dict[str, tuple[Any, Any]] = {  # a good one and a bad one
    "area_under_curve": (EARLY, LATE),
    "best_score": (scores(0.1, 0.7), scores(0.1, 0.6)),
    "collapse_rate": ([STEADY, STEADY], [STEADY, scores(0.1, 0.6, 0.1)]),
    "collapse_step": (scores(0.1, 0.6, 0.6, 0.1), scores(0.1, 0.6, 0.1, 0.1)),
    "completions_discarded": (sampling([2], [0.5]), sampling([3], [0.3])),
    "dispersion_across_runs": ([STEADY, STEADY], [STEADY, UNSTEADY]),
    "dispersion_across_time": (STEADY, UNSTEADY),
    "divergence_rate": ([{"diverged": [0]}], [{"diverged": [1]}]),
    "effective_sample_size": (probe("ratio/ess", 0.9), probe("ratio/ess", 0.2)),
    "entropy_collapse_step": (probe("entropy/token", 1, 1, 0.01), probe("entropy/token", 1, 0.01, 0.01)),
    "entropy_floor": (WIDE, NARROW),
    "entropy_per_score": (scores(0, 0.3, 0.6) | {"entropy/token": [1, 0.9, 0.9]}, scores(0, 0.3, 0.6) | {"entropy/token": [1, 0.5, 0.1]}),
    "entropy_slope": (WIDE, NARROW),
    "final_score": (scores(0.1, 0.7), scores(0.1, 0.6)),
    "gradient_norm_spikes": (probe("grad/norm", *[1] * 11), probe("grad/norm", *[1] * 10, 9)),
    "kl_to_old": (probe("kl_old/k3", 0.1), probe("kl_old/k3", 0.2)),
    "kl_to_start": (probe("kl_ref/k3", 0.1), probe("kl_ref/k3", 0.2)),
    "length_drift": (TEXT | {"eval/length": [5, 6]}, TEXT | {"eval/length": [5, 9]}),
    "lenient_gap": ({"eval/lenient": [0.5], "eval/strict": [0.5]}, {"eval/lenient": [0.5], "eval/strict": [0.1]}),
    "long_term_risk": (STEADY, UNSTEADY),
    "maximum_drawdown": (STEADY, UNSTEADY),
    "mean_gate": (probe("gate", 1), probe("gate", 0.5)),
    "pass_at_k_gap": (TEXT | {"eval/pass@8": [0.5, 0.9]}, TEXT | {"eval/pass@8": [0.5, 0.6]}),
    "ratio_tail": (probe("ratio/max", 1.1), probe("ratio/max", 20)),
    "reward_hacking_gap": (scores(0.5) | {"reward/mean": [0.5]}, scores(0.5) | {"reward/mean": [0.9]}),
    "risk_across_runs": ([scores(0.5), scores(0.6)], [scores(0.1), scores(0.9)]),
    "score_at_fraction": (EARLY | COUNTS, LATE | COUNTS),
    "short_term_risk": (STEADY, UNSTEADY),
    "tokens_discarded": (
        sampling([2], [0.5]) | {"sampling/used_tokens_frac": [0, 0.5]},
        sampling([2], [0.5]) | {"sampling/used_tokens_frac": [0, 0.4]},
    ),
    "truncation": (TEXT | {"eval/truncated": [0, 0]}, TEXT | {"eval/truncated": [0, 0.5]}),
} | {f"{count}_to_threshold": (EARLY | COUNTS, LATE | COUNTS) for count in ("cpu_seconds", "samples", "tokens", "verifier_calls")}


@pytest.mark.parametrize("name", registry.names("metrics"))
def test_the_better_one_is_known_by_it(name: str) -> None:
    good, bad = (measure(name, given) for given in PAIRS[name])
    assert good > bad if registry.load("metrics", name).better == "higher" else good < bad
