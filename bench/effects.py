"""Settings that would have no effect are refused, with what would give them one, before anything expensive starts."""

from __future__ import annotations

from typing import Any

from bench.errors import ConfigError


def check_effects(name: str, rule: Any, train: Any, given: dict[str, dict[str, Any]], refused: dict[str, str]) -> None:
    """Raises ConfigError for a setting of a rule or of training that was asked for, counts for nothing and is not at 0.

    `given` holds what was asked for by part, `refused` reasons by `part.setting` beside those that the rule itself states.
    """
    refused = {f"algo.{setting}": why for setting, why in rule.idle().items()} | refused
    if rule.updates_once:
        once = f"{name} takes one optimizer step per rollout batch; leave it out, or choose another algorithm"
        refused |= {f"train.{setting}": once for setting in ("epochs", "minibatches") if getattr(train, setting, 1) > 1}
    for part, built in (("algo", rule), ("train", train)):
        for setting in given[part]:
            value = getattr(built, setting)
            if value and f"{part}.{setting}" in refused:
                raise ConfigError(f"{part}.{setting} is {value}, but {refused[f'{part}.{setting}']}")
