"""What identifies a run: a resolved, serialisable specification with no defaults left open."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from bench import control_settings
from bench.control_settings import ControlSettings
from bench.errors import ConfigError, unknown

LATER = {"later": True}  # marks a setting that came after results were published: see `recorded`
Optimizers = Literal["adamw", "adamw_8bit", "paged_adamw_8bit"]
CONTROL = "control"  # the one tier of tasks on Gymnasium and on logs


@dataclass(frozen=True)
class Choice:
    """A plug-in by name with every one of its settings."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a text run samples, steps and evaluates: the same for every rule unless a recipe or the user says otherwise."""

    lr: float = 3e-4
    warmup: int = 20  # optimizer steps of linear warm-up; constant afterwards
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    grad_clip: float = 1.0  # on the global norm
    critic_lr: float = 1e-3  # of rules with a critic
    shared_trunk: bool = False  # the critic is a head on the policy's own trunk instead of a model of its own
    ptx_coef: float = 0.0  # weight of the log-likelihood of demonstrations (PPO-ptx, arXiv 2203.02155, eq. 2)
    ptx_rows: int = 16  # demonstrations per optimizer step, of the prompts at hand
    measure_kl: bool = False  # keep the start model for kl_ref probes, where the rule does not need it anyway
    prompts: int = 16  # per rollout batch
    completions: int = 8  # per prompt
    minibatches: int = 4  # optimizer steps per pass over a rollout batch
    epochs: int = 1  # passes
    microbatch: int = 0  # completions per forward pass; 0: the whole minibatch
    limit: int = 0  # generation cap in tokens; 0: the task's
    eval_points: int = 10  # evaluations after the first one, evenly spaced over the budget
    eval_split: Literal["heldout", "tune"] = "heldout"  # tune: for choosing settings without a look at what is reported
    eval_problems: int = 256
    eval_completions: int = 8  # per problem, so pass@k is known up to this k
    microbatch_tokens: int = field(default=0, metadata=LATER)  # per forward pass, padding included; 0: no bound
    optimizer: Optimizers = field(default="adamw", metadata=LATER)  # adamw_8bit, paged_adamw_8bit: of bitsandbytes, with states of 8 bits
    tis_cap: float = field(default=0.0, metadata=LATER)  # truncated importance sampling between sampler and trainer; 0: none

    def __post_init__(self) -> None:
        positive = (
            "lr",
            "grad_clip",
            "critic_lr",
            "ptx_rows",
            "prompts",
            "completions",
            "minibatches",
            "epochs",
            "eval_points",
            "eval_problems",
            "eval_completions",
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be greater than 0")
        for name in ("warmup", "weight_decay", "ptx_coef", "microbatch", "microbatch_tokens", "limit", "tis_cap"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be 0 or more and below 1")
        if self.microbatch and self.microbatch_tokens:
            raise ConfigError(
                f"train.microbatch is {self.microbatch} and train.microbatch_tokens {self.microbatch_tokens}; a forward pass is bounded by "
                "rows or by tokens, leave one out"
            )
        if self.minibatches > self.prompts * self.completions:
            raise ConfigError(
                f"train.minibatches is {self.minibatches}, but a rollout batch holds {self.prompts * self.completions} completions"
            )


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """How a reward model comes to be. Its completions are paid from the run's budget."""

    prompts: int = 256  # to learn from
    measured: int = 64  # prompts, none of them learnt from, on which it is measured and calibrated
    completions: int = 8  # per prompt
    epochs: int = 2
    rows: int = 8  # prompts per optimizer step, each with all of its pairs
    lr: float = 1e-3
    centre: float = 0.01  # weight of the squared sum of a pair's scores, which keeps them around 0
    microbatch_tokens: int = field(default=0, metadata=LATER)  # per forward pass, padding included; 0: no bound

    def __post_init__(self) -> None:
        """Raises ConfigError for a number that no training could have."""
        for name in (f.name for f in dataclasses.fields(self)):
            least = 2 if name == "completions" else 0 if name in ("centre", "microbatch_tokens") else 1e-12
            if getattr(self, name) < least:
                allowed = f"{least} or more" if least in (0, 2) else "greater than 0"
                raise ConfigError(f"reward.{name} is {getattr(self, name)}; it must be {allowed}")

    @property
    def samples(self) -> int:
        """Completions that it costs."""
        return (self.prompts + self.measured) * self.completions


@dataclass(frozen=True, kw_only=True)
class ImportedSettings:
    """What the log of another library tells of how it trained; what it does not tell is not made up."""

    library: str  # that wrote the log
    unit: str  # what the budget counts
    score: str = ""  # what is taken as the held-out score, by the log's own name, or held-out; empty: nothing
    lr: float | None = None  # where it stayed the same


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One run. Two specs with the same `run_id` give the same curve on the same machine and versions, beside the same other seeds."""

    algorithm: Choice
    task: Choice
    tier: str
    sampler: Choice
    model: Choice  # settings hold the digest of the weights, so another base is another run
    seed: int
    budget: int  # completions generated for training, those of a reward model included; the last rollout batch may go beyond
    train: TrainSettings | ControlSettings | ImportedSettings = TrainSettings()
    reward: Choice = Choice("verifier")  # what pays for a completion: the task's verifier, or a model that is trained first

    @property
    def run_id(self) -> str:
        """Twelve hex digits of the SHA-256 of the specification's canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def table(self) -> str:
        """The name results are filed under; runs of different tables are never compared."""
        named = self.task.settings.get("id")  # of a task that is many
        name = self.task.name if named is None else f"{self.task.name}-{named}".replace("/", "-")
        return name if self.tier == CONTROL else f"{name}-{self.tier}"

    @property
    def unit(self) -> str:
        """What the budget counts."""
        if isinstance(self.train, ImportedSettings):
            return self.train.unit
        if isinstance(self.train, TrainSettings):
            return "samples"
        return "gradient steps" if isinstance(self.train, control_settings.LogSettings) else "environment steps"

    def to_json(self) -> dict[str, Any]:
        """JSON values that `from_json` reads back."""
        return asdict(self) | {"train": recorded(self.train)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunSpec:
        """The inverse of `to_json`."""
        choices = {k: Choice(**data[k]) for k in ("algorithm", "task", "sampler", "model", "reward") if k in data}
        kinds = (TrainSettings, ImportedSettings, *control_settings.KINDS)
        kind = next((kind for kind in kinds if _fits(kind, set(data["train"]))), TrainSettings)
        return cls(**choices, tier=data["tier"], seed=data["seed"], budget=data["budget"], train=build(kind, "train", data["train"]))


def recorded(settings: Any) -> dict[str, Any]:
    """What a specification keeps of a settings dataclass: everything but fields marked LATER that have their default.

    So a setting may be added, and the runs that were made before it keep their names.
    """
    unchanged = {f.name for f in dataclasses.fields(settings) if f.metadata.get("later") and getattr(settings, f.name) == f.default}
    return {name: value for name, value in asdict(settings).items() if name not in unchanged}


def _fits(kind: type[Any], names: set[str]) -> bool:
    """Whether these are the recorded settings of a kind."""
    known = dataclasses.fields(kind)
    return {f.name for f in known if not f.metadata.get("later")} <= names <= {f.name for f in known}


def build(cls: type[Any], prefix: str, settings: dict[str, Any]) -> Any:
    """An instance of a settings dataclass; strings, as the command line gives them, are read as the field's type.

    Raises ConfigError for an unknown field or a value of the wrong type, and passes on what the class itself refuses.
    """
    hints = get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.init]
    for name in settings:
        if name not in known:
            raise unknown(f"setting of {prefix}", name, known)
    values = {name: _read(f"{prefix}.{name}", value, hints[name]) for name, value in settings.items()}
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{prefix}: {error}") from error


def _read(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind`: a number, a flag, text, a Literal, or None where that is allowed."""
    options = get_args(kind)
    if get_origin(kind) is Literal:
        if value not in options:
            raise ConfigError(f"{name} is {value!r}; choose one of {', '.join(map(str, options))}")
        return value
    if get_origin(kind) is tuple:
        items = value.split("|") if isinstance(value, str) else value
        try:
            return tuple(_read(name, item, options[0]) for item in items)
        except ConfigError:
            raise ConfigError(f"{name} is {value!r}; it takes values of type {options[0].__name__} with | between them") from None
    if options:  # a union
        if type(None) in options and value in (None, "none"):
            return None
        return _read(name, value, next(option for option in options if option is not type(None)))
    flags = {"true": True, "false": False}
    try:
        if kind is bool:
            return value if isinstance(value, bool) else flags[str(value).lower()]
        if kind is int:
            if isinstance(value, float | bool):
                raise ValueError
            return int(value)
        if kind is float:
            number = float(value)
            if isinstance(value, bool) or not math.isfinite(number):
                raise ValueError
            return number
    except (KeyError, ValueError, TypeError):
        raise ConfigError(
            f"{name} is {value!r}; it takes {'true or false' if kind is bool else f'a value of type {kind.__name__}'}"
        ) from None
    return str(value)
