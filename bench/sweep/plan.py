"""What a user asks a sweep for: on the command line, in a TOML file, or both."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.errors import ConfigError, StoreError, unknown
from bench.resolve import read_seeds

SEEDS = "0..4"  # five: with fewer, an interval says next to nothing


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every algorithm on every task with every seed, under the same options. A sweep is one of them, and one more for each variant."""

    algo: tuple[str, ...]
    task: tuple[str, ...]
    seeds: tuple[int, ...]
    tier: str = ""
    sampler: str = ""
    model: str = ""
    reward: str = "verifier"
    budget: int = 0
    set: tuple[str, ...] = ()  # PART.NAME=VALUE, with NAME: in front where it is for one algorithm or one task alone
    name: str = ""  # of a variant


KEYS = tuple(field.name for field in fields(Plan))


def plans(given: Mapping[str, Any], file: Path | None = None) -> list[Plan]:
    """The plans of a file, over which goes what the command line gives: a value of None, or an empty list of settings, was not given.

    Raises ConfigError for what is missing, unknown or of another form, StoreError for a file that cannot be read.
    """
    given = {name: value for name, value in given.items() if value is not None and value != ()}
    if file is None:
        return [_plan(given)]
    for name in ("algo", "task"):
        if name in given:
            raise ConfigError(f"--{name} and --file are both given; write {name} into {file}, or leave out --file")
    return [_plan(_over(each, given), f"{file}: ") for each in _read(file)]


def _read(file: Path) -> Iterator[dict[str, Any]]:
    """The file's own plan, where it has algorithms, and each of its variants on top of it."""
    try:
        held = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {file} ({getattr(error, 'strerror', None) or error}); give a file of TOML") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML ({error}); mend it") from error
    variants = held.pop("variant", [])
    if not isinstance(variants, list) or not all(isinstance(each, dict) for each in variants):
        raise ConfigError(f"{file}: variants are tables, each under [[variant]]")
    for each in (held, *variants):
        for name in each:
            if name not in KEYS:
                raise unknown(f"key in {file}", name, KEYS)
    if "algo" in held or not variants:
        yield held
    for number, each in enumerate(variants, start=1):
        yield _over({**held, "name": f"variant {number}"}, each)


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of `above` win; settings add up, those of `above` last, where they win one by one."""
    settings = (*_settings(below.get("set", ())), *_settings(above.get("set", ())))
    return {**below, **above, "set": settings}


def _plan(given: Mapping[str, Any], where: str = "") -> Plan:
    for name in ("algo", "task"):
        if not _words(name, given.get(name, ()), where):
            raise ConfigError(f"{where}nothing to run: give {name}, such as {'--' if not where else ''}{name} {EXAMPLES[name]}")
    for name in ("tier", "sampler", "model", "reward", "name"):
        if not isinstance(given.get(name, ""), str):
            raise ConfigError(f"{where}{name} is {given[name]!r}; it takes a name in quotes")
    budget = given.get("budget", 0)
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < 0:
        raise ConfigError(f"{where}budget is {budget!r}; it takes a number of samples or steps, or 0 for the recipe's")
    others: dict[str, Any] = {name: given[name] for name in ("tier", "sampler", "model", "reward", "name") if name in given}
    return Plan(
        algo=_words("algo", given["algo"], where),
        task=_words("task", given["task"], where),
        seeds=tuple(read_seeds(",".join(_words("seeds", given.get("seeds", SEEDS), where)))),
        budget=budget,
        set=_settings(given.get("set", ())),
        **others,
    )


EXAMPLES = {"algo": "gspo,grpo", "task": "gsm8k,countdown"}


def _words(name: str, value: Any, where: str) -> tuple[str, ...]:
    """`a,b` or a list of names or numbers, each once."""
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(item, str) or (name == "seeds" and type(item) is int) for item in items):
        raise ConfigError(f"{where}{name} is {value!r}; it takes names such as {EXAMPLES.get(name, SEEDS)!r}, or a list of them")
    return tuple(dict.fromkeys(word for item in items if (word := str(item).strip())))


def _settings(value: Any) -> tuple[str, ...]:
    """Settings as the command line writes them, from a list of such, or from tables: `set.train.lr = 1e-4`."""
    if isinstance(value, Mapping):
        return tuple(_leaves("", value))
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ConfigError(f'set is {value!r}; it takes a list such as ["train.lr=1e-4"], or keys such as set.train.lr = 1e-4')


def _leaves(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{path}{name}.", value)
        else:
            yield f"{path}{name}={_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
