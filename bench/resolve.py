"""From what a user asks for to a full specification."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from bench import registry, resolve_control
from bench.config import CONTROL, Choice, RewardSettings, RunSpec, TrainSettings, build, recorded
from bench.effects import check_effects
from bench.errors import ConfigError, MissingError, unknown
from bench.model_settings import ModelSettings
from bench.recipes import recipe
from tasks.base import Tier

BASES = Path(__file__).resolve().parent.parent / "tasks" / "bases"
PARTS = ("algo", "task", "sampler", "train", "reward", "model")
REWARDS = ("verifier", "model")
RLHF = {"kl": 0.05, "kl_estimator": "k1"}  # what holds a policy near its start while a model pays it (TRL's PPO)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; everything left open is filled in by `resolve`."""

    algorithm: str
    task: str
    tier: str = ""  # empty: full with a GPU and a task that has it, else tiny
    sampler: str = "hf"
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
    _check_text(request, rule_class)
    sampler_class = registry.load("samplers", request.sampler)
    tier = _tier(request, task_class)
    resolve_control.check_named(name, task_class, named | given["task"])
    known = recipe(name, tier, request.algorithm, adapters=str(given["model"].get("lora_rank", 0)) != "0")
    pull = RLHF if request.reward == "model" and "kl" in rule_class.__dataclass_fields__ else {}
    rule = build(rule_class, "algo", known.algorithm | pull | given["algo"])
    task = _task(task_class, tier, named | given["task"])
    train = build(TrainSettings, "train", known.train | given["train"])
    reward = _reward(request, rule, known.reward, given["reward"])
    budget = request.budget or known.budget
    _check(request, rule, train, budget)
    _check_terms(request, rule, train)
    model = _model(request, tier, given["model"])
    _check_sampler(request, rule, train, sampler_class.exact and model.settings.get("dtype", "float32") == "float32")
    _check_installed(train, model)
    check_effects(request.algorithm, rule, train, given, _without_effect(request.algorithm, rule))
    _check_reward(reward, train, budget)
    return RunSpec(
        algorithm=Choice(request.algorithm, recorded(rule)),
        task=Choice(name, recorded(task)),
        tier=tier,
        sampler=Choice(request.sampler, recorded(build(sampler_class, "sampler", given["sampler"]))),
        model=model,
        seed=request.seed,
        budget=budget,
        train=train,
        reward=reward,
    )


def _check_control(request: Request) -> None:
    """Raises ConfigError for what a user asks for and only text has."""
    asked = {"--tier": request.tier not in ("", CONTROL), "--sampler": request.sampler != "hf", "--model": request.model != ""}
    asked["--reward"] = request.reward != "verifier"
    for option, given in asked.items():
        if given:
            raise ConfigError(f"{option} is for text, and {request.task} is no text task; leave it out")


def _check_text(request: Request, rule_class: type[Any]) -> None:
    """Raises ConfigError for a rule that learns from single transitions, of which text has none."""
    from algorithms.value import ValueRule

    if issubclass(rule_class, ValueRule):
        raise ConfigError(
            f"{request.algorithm} learns from single transitions, and {request.task} is text; choose a task on Gymnasium, such as cartpole"
        )


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
    tier = request.tier or default_tier(task_class)
    if tier not in get_args(Tier):
        raise unknown("tier", tier, get_args(Tier))
    if tier not in task_class.tiers:
        raise ConfigError(f"task {request.task!r} has no tier {tier!r}; it has {', '.join(task_class.tiers)}")
    return tier


def _check(request: Request, rule: Any, train: TrainSettings, budget: int) -> None:
    """Raises ConfigError for numbers that cannot work together."""
    if request.seed < 0:
        raise ConfigError(f"the seed is {request.seed}; it must be 0 or more")
    if rule.group and train.completions < 2:
        raise ConfigError(
            f"{request.algorithm} compares completions of one prompt, and train.completions is {train.completions}; set 2 or more"
        )
    batch = train.prompts * train.completions
    if budget < batch:
        raise ConfigError(
            f"the budget is {budget} samples, less than one rollout batch of {batch}; "
            "raise --budget, or lower train.prompts or train.completions"
        )


def _check_terms(request: Request, rule: Any, train: TrainSettings) -> None:
    """Raises ConfigError for a term beside the rule's own that would be left out without a word."""
    from algorithms.preference import Preference

    if getattr(rule, "kl_target", None) is not None and not rule.kl > 0:
        raise ConfigError(f"algo.kl_target adapts algo.kl, and algo.kl is {rule.kl:g}; set algo.kl above 0, such as {RLHF['kl']}")
    if train.ptx_coef > 0 and isinstance(rule, Preference):
        raise ConfigError(
            f"train.ptx_coef is {train.ptx_coef:g}, but {request.algorithm} learns from pairs and from no demonstrations; "
            "leave it at 0, or choose another algorithm"
        )


def _check_sampler(request: Request, rule: Any, train: TrainSettings, exact: bool) -> None:
    """Raises ConfigError for a correction of what the sampler rounds, where nothing would be corrected."""
    from algorithms.preference import Preference

    if train.tis_cap and (exact or isinstance(rule, Preference)):
        why = (
            f"the log-probabilities of sampler {request.sampler} are the trainer's own"
            if exact
            else f"{request.algorithm} learns from pairs, which it does not correct"
        )
        raise ConfigError(f"train.tis_cap is {train.tis_cap:g}, but {why}; leave it at 0")


def _check_installed(train: TrainSettings, model: Choice) -> None:
    """Raises MissingError for a package that is asked for and not there."""
    rank, narrow = model.settings.get("lora_rank", 0), train.optimizer != "adamw"
    for asked, module, extra in (
        (f"model.lora_rank is {rank}" if rank else "", "peft", "lora"),
        (f"train.optimizer is {train.optimizer}" if narrow else "", "bitsandbytes", "optim"),
    ):
        if asked and find_spec(module) is None:
            raise MissingError(f'{asked}, which needs {module}: pip install "rl-bench-suite[{extra}]"')


def _without_effect(name: str, rule: Any) -> dict[str, str]:
    """What only text has and this rule makes no use of."""
    found = {}
    if not rule.critic:
        found["train.shared_trunk"] = f"{name} has no critic; leave it out, or choose an algorithm that has one"
    if not rule.learns:
        still = f"{name} leaves the start model as it is; leave it out, or choose another algorithm"
        found |= dict.fromkeys(("algo.kl", "algo.entropy_bonus", "train.ptx_coef", "train.weight_decay"), still)
    return found


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


def _check_reward(reward: Choice, train: TrainSettings, budget: int) -> None:
    """Raises ConfigError where the reward model's own completions leave none to train on."""
    if reward.name == "model":
        cost, batch = RewardSettings(**reward.settings).samples, train.prompts * train.completions
        if budget < cost + batch:
            raise ConfigError(
                f"the budget is {budget} samples, of which the reward model takes {cost}; that leaves less than one rollout batch of "
                f"{batch}: raise --budget, or lower reward.prompts, reward.measured or reward.completions"
            )


def read_seeds(text: str) -> list[int]:
    """The seeds of 0..9 (both ends included) or 0,3,5, or of both mixed. Raises ConfigError for anything else."""
    found: list[int] = []
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        if not first.isdecimal() or (dots and not last.isdecimal()) or (dots and int(last) < int(first)):
            raise ConfigError(f"--seeds takes seeds such as 0..9 or 0,3,5; it got {text!r}")
        found += range(int(first), int(last if dots else first) + 1)
    return list(dict.fromkeys(found))


def default_tier(task_class: type[Any]) -> str:
    """full where the task has that tier, and a GPU is there or no tiny one is; else tiny."""
    return "full" if "full" in task_class.tiers and ("tiny" not in task_class.tiers or gpu()) else "tiny"


def gpu() -> bool:
    """Whether torch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()


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


def _model(request: Request, tier: str, given: dict[str, Any]) -> Choice:
    """The start checkpoint, how it is loaded, and the digest of its weights where it is a folder."""
    if not request.model and tier == "full":
        raise ConfigError("the full tier needs --model: a folder with a causal language model, or a Hugging Face id")
    name = request.model or f"base:{request.task}"
    folder = model_folder(name)
    if name.startswith("base:") and not folder.is_dir():
        made = sorted(p.name for p in BASES.iterdir() if p.is_dir()) if BASES.is_dir() else []
        raise MissingError(
            f"no base model for {request.task!r} (there are {', '.join(made) or 'none'}); "
            f"make one with `bench pretrain {request.task}` or give --model"
        )
    settings = build(ModelSettings, "model", _dtype(tier, given) | given).changes()
    if not folder.is_dir():
        return Choice(name, settings)
    if "revision" in settings:
        raise ConfigError(f"model.revision is {settings['revision']!r}, but {name} is a folder, which has none; leave it out")
    return Choice(name if name.startswith("base:") else str(folder), {"digest": digest(folder), **settings})


def _dtype(tier: str, given: dict[str, Any]) -> dict[str, Any]:
    """bfloat16 arithmetic on a GPU at the full tier; of the weights as well where they stay as they are."""
    if tier != "full" or not gpu():
        return {}
    return {"dtype": "bfloat16" if str(given.get("lora_rank", 0)) != "0" else "mixed"}


def digest(folder: Path) -> str:
    """Twelve hex digits of the SHA-256 of a model folder's weights. Raises MissingError where it holds none."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise MissingError(f"{folder} holds no *.safetensors; give a folder made by save_pretrained")
    found = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                found.update(block)
    return found.hexdigest()[:12]


def model_folder(name: str) -> Path:
    """Where a model's name points to; a Hugging Face id gives a path that does not exist."""
    return BASES / name.removeprefix("base:") if name.startswith("base:") else Path(name).expanduser().absolute()
