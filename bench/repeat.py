"""The command that makes a run again, from its specification."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from bench.config import CONTROL, RunSpec
from bench.errors import BenchError, ConfigError
from bench.resolve import Request, resolve
from bench.resolve_control import MANY

AMPLE = 10**15  # a budget that no recipe's numbers exceed


def command(spec: Mapping[str, Any], run_id: str) -> str:
    """The `bench run ...` line that resolves to this specification; what the recipe gives is left out, and the seed comes last.

    `spec` is that of spec.json. Raises ConfigError with the reason where this version, or what is installed beside it, would make another
    run of it.
    """
    try:
        run = RunSpec.from_json(dict(spec))
        request = _request(run)
        again = resolve(request).run_id
    except (BenchError, ImportError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"run {run_id} cannot be repeated here: {error or type(error).__name__}") from error
    if again != run_id:
        raise ConfigError(f"run {run_id} cannot be repeated bit for bit here: its model, log or settings are another version's")
    return shlex.join(["bench", "run", *_words(request)])


def _request(spec: RunSpec) -> Request:
    text = spec.tier != CONTROL
    many = spec.task.name in MANY
    task = f"{spec.task.name}:{spec.task.settings['id']}" if many else spec.task.name
    model = "" if not text or spec.model.name == f"base:{spec.task.name}" else spec.model.name
    plain = Request(algorithm=spec.algorithm.name, task=task, seed=spec.seed, budget=AMPLE)
    if text:
        plain = replace(plain, tier=spec.tier, sampler=spec.sampler.name, reward=spec.reward.name, model=model)
    given = _parts(spec)
    usual = _usual(replace(plain, seed=0))
    pairs = [(f"{part}.{name}", value) for part in given for name, value in given[part].items() if _differs(usual, part, name, value)]
    settings = tuple(f"{name}={_written(value)}" for name, value in pairs if not (many and name == "task.id"))
    return replace(plain, budget=spec.budget, settings=settings)


@cache
def _usual(request: Request) -> dict[str, dict[str, Any]]:
    """What the recipe and the rule give where nothing is set."""
    return _parts(resolve(request))


def _parts(spec: RunSpec) -> dict[str, dict[str, Any]]:
    """Every setting that `--set` reaches, by part."""
    held = {"algo": spec.algorithm.settings, "task": spec.task.settings, "train": vars(spec.train)}
    model = {name: value for name, value in spec.model.settings.items() if name != "digest"}
    text = {"sampler": spec.sampler.settings, "reward": spec.reward.settings, "model": model}
    return {part: dict(settings) for part, settings in (held | (text if spec.tier != CONTROL else {})).items()}


def _differs(usual: Mapping[str, Mapping[str, Any]], part: str, name: str, value: Any) -> bool:
    held = usual[part].get(name)  # None of a setting that is left out at its default
    return (tuple(value) if isinstance(value, list) else value) != (tuple(held) if isinstance(held, list) else held)


def _written(value: Any) -> str:
    """A setting as the command line takes it."""
    if isinstance(value, list | tuple):
        return "|".join(map(_written, value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _words(request: Request) -> list[str]:
    words = ["--algo", request.algorithm, "--task", request.task]
    for option, value, usual in (
        ("--tier", request.tier, ""),
        ("--sampler", request.sampler, "hf"),
        ("--model", request.model, ""),
        ("--reward", request.reward, "verifier"),
    ):
        words += [option, value] if value != usual else []
    words += ["--budget", str(request.budget)]
    for pair in request.settings:
        words += ["--set", pair]
    return [*words, "--seed", str(request.seed)]
