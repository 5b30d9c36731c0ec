"""From what a user asks for to a full specification."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, get_args

from bench import models, registry, resolve_control
from bench.config import CONTROL, Choice, RewardSettings, RunSpec, TrainSettings, build, recorded
from bench.effects import check_effects
from bench.errors import ConfigError, MissingError, unknown
from bench.recipes import recipe
from bench.resolve_text import check, learns_from_text, without_effect
from tasks.base import Tier

PARTS = ("algo", "task", "sampler", "train", "reward", "model")
REWARDS = ("verifier", "model")
RLHF = {"kl": 0.05, "kl_estimator": "k1"}  # what holds a policy near its start while a model pays it (TRL's PPO)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; everything left open is filled in by `resolve`."""

    algorithm: str
    task: str
    tier: str = ""  # empty: full for a task that has it with a model that is named or a GPU, else tiny
    sampler: str = ""  # empty: vllm at the full tier where it is installed beside a GPU, else hf
    reward: str = "verifier"  # or "model": one that learns from the verifier's comparisons first
    model: str = ""  # a folder or a Hugging Face id; empty: the task's own base model
    seed: int = 0
    budget: int = 0  # 0: the recipe's
    settings: tuple[str, ...] = ()  # "algo.clip_low=1e-3"


def resolve(request: Request) -> RunSpec:
    """The full specification, with everything checked that can be checked without loading a model.

    Raises ConfigError for names, values and pairings that cannot work, MissingError for a model that is not there.
    """
    name, named = resolve_control.named(request.task)
    rule_class, task_class = registry.load("algorithms", request.algorithm), registry.load("tasks", name)
    given = _sorted_settings(request.settings)
    if CONTROL in task_class.tiers:
        _check_control(request)
        given["task"] = named | given["task"]
        return resolve_control.specify(request.algorithm, name, request.seed, request.budget, given)
    learns_from_text(request.algorithm, request.task, rule_class)
    tier = _tier(request, task_class)
    sampler = request.sampler or default_sampler(tier)
    chosen = build(registry.load("samplers", sampler), "sampler", given["sampler"])
    chosen.ready()
    resolve_control.check_named(name, task_class, named | given["task"])
    known = recipe(name, tier, request.algorithm, adapters=str(given["model"].get("lora_rank", 0)) != "0")
    pull = RLHF if request.reward == "model" and "kl" in rule_class.__dataclass_fields__ else {}
    rule = build(rule_class, "algo", known.algorithm | pull | given["algo"])
    task = _task(task_class, tier, named | given["task"])
    train = build(TrainSettings, "train", known.train | given["train"])
    spec = RunSpec(
        algorithm=Choice(request.algorithm, recorded(rule)),
        task=Choice(name, recorded(task)),
        tier=tier,
        sampler=Choice(sampler, recorded(chosen)),
        model=models.choose(request.model, request.task, tier, given["model"]),
        seed=request.seed,
        budget=request.budget or known.budget,
        train=train,
        reward=_reward(request, rule, known.reward, given["reward"]),
    )
    check(spec, rule, chosen.exact)
    check_effects(request.algorithm, rule, train, given, without_effect(request.algorithm, rule))
    return spec


def _check_control(request: Request) -> None:
    """Raises ConfigError for what a user asks for and only text has."""
    asked = {"--tier": request.tier not in ("", CONTROL), "--sampler": request.sampler != "", "--model": request.model != ""}
    asked["--reward"] = request.reward != "verifier"
    for option, given in asked.items():
        if given:
            raise ConfigError(f"{option} is for text, and {request.task} is no text task; leave it out")


def _task(task_class: type[Any], tier: str, given: dict[str, Any]) -> Any:
    """The task at a tier, with what it needs loaded. Raises ConfigError for settings that cannot be, MissingError for a missing library."""
    at = {"tier": tier} if "tier" in task_class.__dataclass_fields__ else {}
    task = build(task_class, "task", at | task_class.presets.get(tier, {}) | given)
    try:
        task.ready()
    except ImportError as error:
        raise MissingError(str(error)) from error
    except ValueError as error:
        raise ConfigError(f"task: {error}") from error
    return task


def _tier(request: Request, task_class: type[Any]) -> str:
    tier = request.tier or default_tier(task_class, request.model)
    if tier not in get_args(Tier):
        raise unknown("tier", tier, get_args(Tier))
    if tier not in task_class.tiers:
        raise ConfigError(f"task {request.task!r} has no tier {tier!r}; it has {', '.join(task_class.tiers)}")
    return tier


def _reward(request: Request, rule: Any, known: dict[str, Any], given: dict[str, Any]) -> Choice:
    """Raises ConfigError for an unknown source of rewards, and for a rule that cannot do without verdicts."""
    if request.reward not in REWARDS:
        raise unknown("source of rewards", request.reward, REWARDS)
    if request.reward == "verifier":
        if given:
            raise ConfigError(f"reward.{next(iter(given))} is a setting of the reward model; add --reward model, or leave it out")
        return Choice("verifier")
    if rule.verdicts or rule.control:
        why = "learns from verdicts, which a reward model does not give" if rule.verdicts else "is a control of what the verifier pays"
        raise ConfigError(f"{request.algorithm} {why}; leave out --reward model, or choose another algorithm")
    return Choice("model", recorded(build(RewardSettings, "reward", known | given)))


def read_seeds(text: str) -> list[int]:
    """The seeds of 0..9 (both ends included) or 0,3,5, or of both mixed. Raises ConfigError for anything else."""
    found: list[int] = []
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()) or (dots and int(last) < int(first)):
            raise ConfigError(f"--seeds takes seeds such as 0..9 or 0,3,5; it got {text!r}")
        found += range(int(first), int(last if dots else first) + 1)
    return list(dict.fromkeys(found))


def default_tier(task_class: type[Any], model: str = "") -> str:
    """full where the task has that tier, and a model is named, a GPU is there or no tiny tier is; else tiny."""
    named = bool(model) and not model.startswith("base:")
    return "full" if "full" in task_class.tiers and (named or "tiny" not in task_class.tiers or models.gpu()) else "tiny"


def default_sampler(tier: str) -> str:
    """vllm at the full tier where it is installed beside a GPU, else hf."""
    return "vllm" if tier == "full" and models.gpu() and find_spec("vllm") is not None else "hf"


def _sorted_settings(pairs: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """`algo.clip=0.1` by part. Raises ConfigError for anything of another form."""
    found: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        part, dot, key = name.partition(".")
        if not (equals and dot and key):
            raise ConfigError(f"--set takes PART.NAME=VALUE, such as algo.clip_low=1e-3; it got {pair!r}")
        if part not in PARTS:
            raise unknown("part to set", part, PARTS)
        found[part][key] = value
    return found
