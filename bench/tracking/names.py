"""What records are called in trackers: our names, and beside them those that users of TRL and of CleanRL know."""

from __future__ import annotations

from bench.config import CONTROL, RunSpec
from bench.record import Record

COUNTS = ("samples", "tokens", "verifier_calls", "updates", "seconds", "cpu_seconds")
TRL = {  # ours: TRL's, where both mean the same
    "reward/mean": "reward",
    "eval_score": "eval_reward",
    "entropy/token": "entropy",
    "kl_ref/k3": "kl",
    "grad/norm": "grad_norm",
    "len/mean": "completions/mean_length",
    "len/max": "completions/max_length",
    "len/terminated_mean": "completions/mean_terminated_length",
    "len/truncated_frac": "completions/clipped_ratio",
    "group/zero_adv_frac": "frac_reward_zero_std",
}
CLEANRL = {  # ours: CleanRL's; ours are means over all of an update, CleanRL's losses are of its last minibatch
    "ep/return": "charts/episodic_return",
    "ep/length": "charts/episodic_length",
    "eval/return": "eval/episodic_return",
    "entropy/token": "losses/entropy",
    "entropy/policy": "losses/entropy",
    "kl_old/k1": "losses/old_approx_kl",
    "kl_old/k3": "losses/approx_kl",
    "value/loss": "losses/value_loss",
    "value/explained_var": "losses/explained_variance",
    "temperature": "losses/alpha",
}
SPEED = "charts/SPS"  # environment steps per second so far


def values(spec: RunSpec, record: Record) -> dict[str, float]:
    """Every number of a record by name, and a second time by the name that others use for it. What is undefined is absent."""
    found = {name: float(getattr(record, name)) for name in COUNTS}
    scores = {"train_score": record.train_score, "eval_score": record.eval_score}
    found |= {name: value for name, value in scores.items() if value is not None} | record.probes
    control = spec.tier == CONTROL
    found |= {theirs: found[ours] for ours, theirs in (CLEANRL if control else TRL).items() if ours in found}
    if control and record.seconds > 0:
        found[SPEED] = record.samples / record.seconds
    return found
