"""What cannot work together on text, refused before anything is loaded."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from bench.config import RewardSettings, RunSpec, TrainSettings
from bench.errors import ConfigError, MissingError


def check(spec: RunSpec, rule: Any, exact: bool) -> None:
    """`exact`: the sampler says that its log-probabilities are the trainer's, in float32.

    Raises ConfigError for numbers and parts that cannot work together, MissingError for a package that is asked for and not there.
    """
    assert isinstance(spec.train, TrainSettings)
    _sizes(spec, spec.train, rule)
    _terms(spec, spec.train, rule)
    _sampler(spec, spec.train, rule, exact and spec.model.settings.get("dtype", "float32") == "float32")
    _installed(spec, spec.train)
    _reward(spec, spec.train)


def learns_from_text(name: str, task: str, rule_class: type[Any]) -> None:
    """Raises ConfigError for a rule that learns from single transitions, of which text has none."""
    from algorithms.value import ValueRule

    if issubclass(rule_class, ValueRule):
        raise ConfigError(f"{name} learns from single transitions, and {task} is text; choose a task on Gymnasium, such as cartpole")


def _sizes(spec: RunSpec, train: TrainSettings, rule: Any) -> None:
    """Raises ConfigError for numbers that cannot work together."""
    if spec.seed < 0:
        raise ConfigError(f"the seed is {spec.seed}; it must be 0 or more")
    if rule.group and train.completions < 2:
        raise ConfigError(
            f"{spec.algorithm.name} compares completions of one prompt, and train.completions is {train.completions}; set 2 or more"
        )
    budget, batch = spec.budget, train.prompts * train.completions
    if budget < batch:
        raise ConfigError(
            f"the budget is {budget} samples, less than one rollout batch of {batch}; "
            "raise --budget, or lower train.prompts or train.completions"
        )


def _terms(spec: RunSpec, train: TrainSettings, rule: Any) -> None:
    """Raises ConfigError for a term beside the rule's own that would be left out without a word."""
    from algorithms.preference import Preference

    if getattr(rule, "kl_target", None) is not None and not rule.kl > 0:
        raise ConfigError(f"algo.kl_target adapts algo.kl, and algo.kl is {rule.kl:g}; set algo.kl above 0, such as 0.05")
    if train.ptx_coef > 0 and isinstance(rule, Preference):
        raise ConfigError(
            f"train.ptx_coef is {train.ptx_coef:g}, but {spec.algorithm.name} learns from pairs and from no demonstrations; "
            "leave it at 0, or choose another algorithm"
        )


def _sampler(spec: RunSpec, train: TrainSettings, rule: Any, exact: bool) -> None:
    """Raises ConfigError for a correction of what the sampler rounds, where nothing would be corrected."""
    from algorithms.preference import Preference

    if train.tis_cap and (exact or isinstance(rule, Preference)):
        why = (
            f"the log-probabilities of sampler {spec.sampler.name} are the trainer's own"
            if exact
            else f"{spec.algorithm.name} learns from pairs, which it does not correct"
        )
        raise ConfigError(f"train.tis_cap is {train.tis_cap:g}, but {why}; leave it at 0")


def _installed(spec: RunSpec, train: TrainSettings) -> None:
    """Raises MissingError for a package that is asked for and not there."""
    rank, narrow = spec.model.settings.get("lora_rank", 0), train.optimizer != "adamw"
    for asked, module, extra in (
        (f"model.lora_rank is {rank}" if rank else "", "peft", "lora"),
        (f"train.optimizer is {train.optimizer}" if narrow else "", "bitsandbytes", "optim"),
    ):
        if asked and find_spec(module) is None:
            raise MissingError(f'{asked}, which needs {module}: pip install "rl-bench-suite[{extra}]"')


def _reward(spec: RunSpec, train: TrainSettings) -> None:
    """Raises ConfigError where the reward model's own completions leave none to train on."""
    if spec.reward.name == "model":
        budget, cost, batch = spec.budget, RewardSettings(**spec.reward.settings).samples, train.prompts * train.completions
        if budget < cost + batch:
            raise ConfigError(
                f"the budget is {budget} samples, of which the reward model takes {cost}; that leaves less than one rollout batch of "
                f"{batch}: raise --budget, or lower reward.prompts, reward.measured or reward.completions"
            )


def without_effect(name: str, rule: Any) -> dict[str, str]:
    """What only text has and this rule makes no use of."""
    found = {}
    if not rule.critic:
        found["train.shared_trunk"] = f"{name} has no critic; leave it out, or choose an algorithm that has one"
    if not rule.learns:
        still = f"{name} leaves the start model as it is; leave it out, or choose another algorithm"
        found |= dict.fromkeys(("algo.kl", "algo.entropy_bonus", "train.ptx_coef", "train.weight_decay"), still)
    return found
