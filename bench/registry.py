"""Finds plug-ins: one file, one frozen dataclass, one name on the command line.

A built-in plug-in is a module of the kind's package that defines a public, concrete subclass of one of the kind's base classes; its
name is the file's. Files are read, not imported, to find the names, so listing them costs no torch. Third parties name theirs in the
entry point group `bench.<kind>`.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import bench
from bench.errors import ConfigError, unknown


@dataclass(frozen=True)
class Kind:
    """Where the built-in plug-ins of a kind live, and what they derive from."""

    package: str
    bases: tuple[str, ...]  # "module:class"; a named class that is itself concrete is a plug-in too


KINDS = {
    "algorithms": Kind("algorithms", ("algorithms.base:PolicyGradient", "algorithms.preference:Preference", "algorithms.value:ValueRule")),
    "tasks": Kind("tasks", ("tasks.base:TextTask", "tasks.env:EnvTask")),
    "metrics": Kind("bench.metrics", ("bench.metrics.base:Metric",)),
    "samplers": Kind("bench.samplers", ("bench.samplers.base:Sampler",)),
}


@dataclass(frozen=True)
class Entry:
    """One line of a listing."""

    name: str
    about: str  # first line of the class's docstring; empty where the plug-in is broken
    origin: str  # "built in", or the distribution's name and version
    error: str | None = None


def names(kind: str) -> list[str]:
    """Every name that `load` knows, sorted. Imports no plug-in.

    Raises ConfigError for an unknown kind and where a package of ours is hidden by a foreign one of the same name.
    """
    return sorted({*_built_in(kind), *(e.name for e in _external(kind))})


def load(kind: str, name: str) -> type[Any]:
    """The class called `name`. Raises ConfigError for an unknown name, and for a plug-in that is broken or claimed twice."""
    if name in _built_in(kind):
        module = importlib.import_module(f"{_kind(kind).package}.{name}")
        return _only_class(kind, module.__name__, vars(module))
    found = [e for e in _external(kind) if e.name == name]
    if not found:
        raise unknown(kind.removesuffix("s"), name, names(kind))
    if len(found) > 1:
        raise ConfigError(f"{kind.removesuffix('s')} {name!r} comes from {' and from '.join(map(_origin, found))}; uninstall all but one")
    try:
        return _checked(kind, found[0].load(), found[0].value)
    except Exception as error:
        blame = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{kind.removesuffix('s')} {name!r} of {_origin(found[0])} is broken ({blame}); mend or uninstall it") from error


def listing(kind: str) -> list[Entry]:
    """What there is, built-in plug-ins first; a broken one is listed with its error and stops nothing else. Imports them all."""
    built_in, external = _built_in(kind), _external(kind)
    entries = [_entry(kind, name, "built in") for name in built_in]
    for e in sorted(external, key=lambda e: e.name):
        if e.name in built_in:
            entries.append(Entry(e.name, "", _origin(e), f"a built-in {kind.removesuffix('s')} has this name; rename the entry point"))
        else:
            entries.append(_entry(kind, e.name, _origin(e)))
    return entries


def markdown(kind: str) -> str:
    """A Markdown table of the built-in plug-ins, for the README: the same whatever else is installed."""
    rows = [entry for entry in listing(kind) if entry.origin == "built in"]
    lines = [f"| `{row.name}` | {(row.about or f'broken: {row.error}').replace('|', chr(92) + '|')} |" for row in rows]
    return "\n".join([f"| {kind.removesuffix('s')} | what it does |", "|---|---|", *lines]) + "\n"


def _kind(kind: str) -> Kind:
    if kind not in KINDS:
        raise unknown("kind of plug-in", kind, KINDS)
    return KINDS[kind]


def _entry(kind: str, name: str, origin: str) -> Entry:
    try:
        return Entry(name, (inspect.getdoc(load(kind, name)) or "").partition("\n")[0], origin)
    except Exception as error:  # third-party code may raise anything, and must not hide the others
        return Entry(name, "", origin, f"{type(error).__name__}: {error}")


def _external(kind: str) -> list[EntryPoint]:
    _kind(kind)
    return list(entry_points(group=f"bench.{kind}"))


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _only_class(kind: str, module: str, members: dict[str, Any]) -> type[Any]:
    """The one public concrete class of this kind that the module defines."""
    own = [c for n, c in members.items() if inspect.isclass(c) and c.__module__ == module and not n.startswith("_")]
    found = [c for c in own if _derives(kind, c) and not inspect.isabstract(c)]
    if len(found) != 1:
        which = ", ".join(c.__name__ for c in found) or "none"
        raise ConfigError(f"{module} must define exactly one plug-in class; it defines {which}: give each a file of its own")
    return _checked(kind, found[0], module)


def _derives(kind: str, cls: type[Any]) -> bool:
    return any(f"{c.__module__}:{c.__qualname__}" in _kind(kind).bases for c in cls.__mro__)


def _checked(kind: str, cls: Any, where: str) -> type[Any]:
    """`cls` if it is a plug-in of this kind. Raises ConfigError if not."""
    if not inspect.isclass(cls) or not _derives(kind, cls) or inspect.isabstract(cls):
        raise ConfigError(
            f"{where} is no concrete subclass of {' or '.join(_kind(kind).bases)}; derive from it and define what is abstract"
        )
    if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise ConfigError(f"{where}: {cls.__name__} must be a frozen dataclass; its fields are its settings")
    return cls


def _folder(package: str) -> Path:
    """The package's folder. Raises ConfigError where the package found is not the one that ships with this `bench`."""
    top, home = package.partition(".")[0], Path(bench.__file__).resolve().parent.parent
    spec = importlib.util.find_spec(top)
    places = [Path(p).resolve() for p in (spec.submodule_search_locations if spec else None) or ()]
    if not places:
        raise ConfigError(f"the package {top!r} is missing beside {home / 'bench'}; install bench again")
    for place in places:
        if place.parent != home:
            raise ConfigError(
                f"the package {top!r} comes from {place}, not from {home}; uninstall what put it there or take it off the path"
            )
    return home.joinpath(*package.split("."))


def _built_in(kind: str) -> list[str]:
    where = _kind(kind)
    folder = _folder(where.package)
    modules = tuple(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.ispkg and not m.name.startswith("_"))
    return list(_defining(where, folder, modules))


@cache
def _defining(where: Kind, folder: Path, modules: tuple[str, ...]) -> list[str]:
    """Those of a package's modules that define a plug-in."""
    return sorted(name for name in modules if _Reader(where, folder).defines(f"{where.package}.{name}"))


@dataclass(frozen=True)
class _Reader:
    """Reads from source, without importing it, which modules of a package define a concrete class of a kind."""

    kind: Kind
    folder: Path

    def defines(self, module: str) -> bool:
        try:
            classes, _ = _parsed(self.folder / f"{module.rpartition('.')[2]}.py")
        except SyntaxError:
            return True  # listed, so that its error is seen
        facts = (self._facts(module, name) for name in classes if not name.startswith("_"))
        return any(derives and not any(members.values()) for derives, members in facts)

    def _facts(self, module: str, name: str) -> tuple[bool, dict[str, bool]]:
        """Whether a class derives from the kind's bases, and for each member whether it is still abstract."""
        path = self.folder / f"{module.rpartition('.')[2]}.py"
        if module.rpartition(".")[0] != self.kind.package or not path.is_file():
            return False, {}
        classes, imports = _parsed(path)
        if name not in classes:
            return False, {}
        derives, members = f"{module}:{name}" in self.kind.bases, dict[str, bool]()
        for base in reversed(classes[name].bases):
            first, _, rest = ast.unparse(base).partition("[")[0].partition(".")
            source, _, original = imports.get(first, f"{module}:{first}").partition(":")
            above = self._facts(f"{source}.{original}", rest) if rest else self._facts(source, original)
            derives = derives or above[0]
            members |= {name: abstract and members.get(name, True) for name, abstract in above[1].items()}  # a shared root hides nothing
        return derives, members | dict(_members(classes[name]))


@cache
def _parsed(path: Path) -> tuple[dict[str, ast.ClassDef], dict[str, str]]:
    """The classes of a file, and for each imported name its "module:name"."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    froms = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return classes, {a.asname or a.name: f"{node.module}:{a.name}" for node in froms for a in node.names}


def _members(node: ast.ClassDef) -> Iterator[tuple[str, bool]]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            yield item.name, any("abstract" in ast.unparse(d) for d in item.decorator_list)
        elif isinstance(item, ast.AnnAssign) and item.value is not None:
            yield ast.unparse(item.target), False
        elif isinstance(item, ast.Assign):
            yield from ((ast.unparse(target), False) for target in item.targets)
