"""From what a user wants scored to all that the outcome follows from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import checkpoint, registry, resolve_control
from bench.checkpoint import Checkpoint
from bench.config import CONTROL, Choice, RunSpec, build, recorded
from bench.errors import ConfigError, MissingError, unknown
from bench.resolve import Request, resolve
from tasks.base import Split, TextTask

PARTS = ("task", "sampler", "model")
SPLITS = ("heldout", "tune")
PROBLEMS, COMPLETIONS = 256, 8  # where no protocol states them


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a user asks for; 0 and empty stand for what the protocol says."""

    model: str  # a folder, a Hugging Face id, or the folder of a run, whose newest checkpoint is meant
    task: str
    tier: str = ""
    split: str = "heldout"
    problems: int = 0
    completions: int = 0
    greedy: bool = False
    limit: int = 0
    sampler: str = ""
    seed: int = 0
    settings: tuple[str, ...] = ()  # "task.data=FOLDER"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that an evaluation's outcome follows from."""

    task: Choice
    tier: str
    model: Choice
    sampler: Choice
    split: Split
    problems: int  # the first so many; 0: all there are
    completions: int
    greedy: bool
    limit: int  # tokens
    seed: int
    protocol: dict[str, Any] | None  # with its digest; None at the tiny tier
    deviations: tuple[str, ...]  # from the protocol, in words

    @property
    def id(self) -> str:
        """Twelve hex digits of the SHA-256 of the plan's JSON."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """As JSON reads it back."""
        return dict(json.loads(json.dumps(asdict(self))))


@dataclass(frozen=True)
class Work:
    """A plan with what carries it out."""

    plan: Plan
    task: TextTask
    spec: RunSpec  # of a run that trains nothing: says how the model is loaded
    checkpoint: Checkpoint | None = None  # of a run whose model is scored


def prepare(asked: Asked) -> Work:
    """Raises ConfigError for what cannot be, MissingError for what is not there; loads no model."""
    _check(asked)
    run = trained_run(asked.model)
    loaded: dict[str, Any] = {} if run is None else {k: v for k, v in run[0].model.settings.items() if k != "digest"}
    if run is not None and any(pair.startswith("model.") for pair in asked.settings):
        raise ConfigError("a run's model is loaded as it was trained; leave out --set model.NAME")
    task_class = registry.load("tasks", resolve_control.named(asked.task)[0])
    if CONTROL in task_class.tiers:
        raise ConfigError(f"{asked.task} is no text task, and bench eval scores language models; choose one such as gsm8k")
    spec = resolve(
        Request(
            algorithm="untrained",
            task=asked.task,
            tier=asked.tier or (run[0].tier if run is not None and run[0].tier in task_class.tiers else ""),
            sampler=asked.sampler,
            model=asked.model if run is None else run[0].model.name,
            seed=asked.seed,
            settings=(*asked.settings, *(f"model.{name}={value}" for name, value in loaded.items())),
        )
    )
    task = task_class(**spec.task.settings)
    if run is None:
        return Work(_plan(asked, spec, task, spec.model), task, spec)
    spec = replace(spec, model=run[0].model)  # loaded as it was trained, on whatever machine
    return Work(_plan(asked, spec, task, _trained(*run)), task, spec, run[1])


def _check(asked: Asked) -> None:
    if asked.split not in SPLITS:
        raise unknown("split to score", asked.split, SPLITS)
    for name in ("problems", "completions", "limit", "seed"):
        if getattr(asked, name) < 0:
            raise ConfigError(f"--{name} is {getattr(asked, name)}; it must be 0 or more")
    if asked.greedy and asked.completions > 1:
        raise ConfigError(f"--greedy gives one completion of a problem, and --completions is {asked.completions}; leave one out")
    for pair in asked.settings:
        if pair.partition(".")[0] not in PARTS:
            raise unknown("part to set in an evaluation", pair.partition(".")[0], PARTS)


def trained_run(model: str) -> tuple[RunSpec, Checkpoint] | None:
    """The specification and the newest checkpoint of a run on text, where the name is its folder."""
    folder = Path(model).expanduser()
    if not (folder / "spec.json").is_file():
        return None
    try:
        spec = RunSpec.from_json(json.loads((folder / "spec.json").read_bytes())["spec"])
        step = max(checkpoint.steps(folder / "checkpoint"))
        found = checkpoint.load(folder / "checkpoint" / str(step), step)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingError(f"{folder} holds no complete checkpoint ({error}); give a run that has one: packed runs have none") from error
    if spec.tier == CONTROL or not found.holds("model"):
        raise ConfigError(f"{folder} is no run on text; give one of those, a model's folder or a Hugging Face id")
    return spec, found


def _trained(spec: RunSpec, found: Checkpoint) -> Choice:
    """What names the weights that a run came to."""
    weights = json.loads((found.folder / checkpoint.MANIFEST).read_bytes())["files"]["model.safetensors"]["sha256"][:12]
    loaded = {name: value for name, value in spec.model.settings.items() if name != "digest"}
    return Choice(f"run {spec.run_id}", {"step": found.step, "digest": weights, "start": spec.model.name, **loaded})


def _plan(asked: Asked, spec: RunSpec, task: TextTask, model: Choice) -> Plan:
    stated = task.protocol()
    usual = (PROBLEMS, COMPLETIONS) if stated is None else (stated.problems, stated.completions)
    found = Plan(
        task=spec.task,
        tier=spec.tier,
        model=model,
        sampler=spec.sampler,
        split="tune" if asked.split == "tune" else "heldout",
        problems=asked.problems or usual[0],
        completions=1 if asked.greedy else asked.completions or usual[1],
        greedy=asked.greedy,
        limit=asked.limit or task.cap,
        seed=asked.seed,
        protocol=None if stated is None else stated.facts(),
        deviations=(),
    )
    return found if stated is None else Plan(**{**vars(found), "deviations": tuple(_deviations(found, task))})


def _deviations(plan: Plan, task: TextTask) -> list[str]:
    stated = task.protocol()
    assert stated is not None
    found = [] if plan.split == "heldout" else [f"the {plan.split} split"]
    if plan.problems != stated.problems:
        found.append(f"{plan.problems or 'all'} problems, not {stated.problems or 'all'}")
    if plan.greedy:
        found.append(f"greedy decoding, not {stated.decoding}")
    elif plan.completions != stated.completions:
        found.append(f"{plan.completions} completions a problem, not {stated.completions}")
    if plan.limit != stated.limit:
        found.append(f"{plan.limit} tokens, not {stated.limit}")
    given = {"tier": plan.tier} if "tier" in plan.task.settings else {}
    named = {"id": plan.task.settings["id"]} if "id" in plan.task.settings else {}
    usual = recorded(build(type(task), "task", given | named | task.presets.get("full", {})))
    for name, value in plan.task.settings.items():
        if value != usual.get(name, type(task).__dataclass_fields__[name].default):
            found.append(f"task.{name}={value}")
    chat = {name: value for name, value in plan.model.settings.items() if name in ("chat", "system", "template")}
    return found + [f"model.{name}={value}" for name, value in chat.items()]
