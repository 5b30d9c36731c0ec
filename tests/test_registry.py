"""Finding plug-ins: built in, from third parties, broken ones, and packages of others that have our names."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import registry
from bench.errors import ConfigError

ROOT = Path(registry.__file__).resolve().parents[1]


def python(code: str, *path: Path) -> str:
    """What a fresh interpreter prints, with our root last on its path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=path[0] if path else ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_built_in_rules_and_tasks_are_there() -> None:
    assert {"grpo", "dapo", "gspo", "sapo", "reinforce"} <= set(registry.names("algorithms"))
    assert {"last_digit", "chain_sum", "countdown", "gsm8k"} <= set(registry.names("tasks"))


@pytest.mark.parametrize("kind", registry.KINDS)
def test_names_read_from_source_are_those_that_importing_finds(kind: str) -> None:
    package = importlib.import_module(registry.KINDS[kind].package)
    found = []
    for info in pkgutil.iter_modules(package.__path__):
        members = vars(importlib.import_module(f"{package.__name__}.{info.name}"))
        own = [c for c in members.values() if inspect.isclass(c) and c.__module__ == f"{package.__name__}.{info.name}"]
        bases = {f"{b.__module__}:{b.__qualname__}" for c in own if not inspect.isabstract(c) for b in c.__mro__}
        found += [info.name] if bases & set(registry.KINDS[kind].bases) else []
    assert registry.names(kind) == found


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_built_in_loads_and_is_listed_with_its_first_line(kind: str) -> None:
    for entry in registry.listing(kind):
        if entry.origin == "built in":
            cls = registry.load(kind, entry.name)
            assert entry.error is None and (cls.__doc__ or "").startswith(entry.about) and entry.about
            assert cls.__module__ == f"{registry.KINDS[kind].package}.{entry.name}"


def test_names_cost_no_heavy_import() -> None:
    code = """
import sys
from bench import registry
for kind in registry.KINDS:
    registry.names(kind)
print(sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)))
"""
    assert python(code) == "[]"


def test_misspelt_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no algorithm called 'grop'\. Did you mean 'grpo'\? Known: .*dapo.*sapo"):
        registry.load("algorithms", "grop")
    with pytest.raises(ConfigError, match="no kind of plug-in called 'algorithm'"):
        registry.names("algorithm")
    with pytest.raises(ConfigError, match="no algorithm called 'base'"):
        registry.load("algorithms", "base")


def test_markdown_is_a_table_of_what_ships(third_party: Path) -> None:
    lines = registry.markdown("algorithms").splitlines()
    assert lines[:2] == ["| algorithm | what it does |", "|---|---|"]
    assert [line.split("`")[1] for line in lines[2:]] == [e.name for e in registry.listing("algorithms") if e.origin == "built in"]
    assert all(line.count("|") == 3 for line in lines)


RULE = """
from dataclasses import dataclass
from algorithms.grpo import GRPO

@dataclass(frozen=True, kw_only=True)
class Mine(GRPO):
    '''A rule of someone else. And a second sentence.

    More.
    '''

class Other:
    pass
"""
POINTS = """
[bench.algorithms]
mine = someone_elses:Mine
grpo = someone_elses:Mine
other = someone_elses:Other
absent = someone_elses:Nothing
nowhere = no_such_module:Thing
exits = someone_elses_bad:Thing
"""


def distribution(folder: Path, name: str, points: str) -> None:
    info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(points)


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution with one good rule and five entry points that cannot work."""
    (tmp_path / "someone_elses.py").write_text(RULE)
    (tmp_path / "someone_elses_bad.py").write_text("raise RuntimeError('at import')\n")
    distribution(tmp_path, "some-rules", POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "someone_elses", raising=False)
    return tmp_path


def test_third_party_rules_are_loaded_by_name(third_party: Path) -> None:
    assert registry.load("algorithms", "mine").__name__ == "Mine"
    assert {"mine", "nowhere", "grpo"} <= set(registry.names("algorithms"))
    assert registry.names("algorithms").count("grpo") == 1


def test_broken_plug_ins_are_listed_with_their_error_and_stop_nothing(third_party: Path) -> None:
    entries = {e.name: e for e in registry.listing("algorithms") if e.origin == "some-rules 1.2"}
    assert entries["mine"] == registry.Entry("mine", "A rule of someone else. And a second sentence.", "some-rules 1.2")
    reasons = {
        "grpo": "a built-in algorithm has this name",
        "other": "no concrete subclass of algorithms.base:PolicyGradient",
        "absent": "AttributeError",
        "nowhere": "ModuleNotFoundError",
        "exits": "RuntimeError: at import",
    }
    assert {name for name, e in entries.items() if e.error} == set(reasons)
    for name, reason in reasons.items():
        assert reason in (entries[name].error or "")
    assert all(e.error is None for e in registry.listing("algorithms") if e.origin == "built in")


def test_a_third_party_never_shadows_a_built_in(third_party: Path) -> None:
    assert registry.load("algorithms", "grpo").__module__ == "algorithms.grpo"


def test_a_broken_plug_in_names_its_distribution(third_party: Path) -> None:
    with pytest.raises(ConfigError, match=r"algorithm 'nowhere' of some-rules 1\.2 is broken \(ModuleNotFoundError.*mend or uninstall it"):
        registry.load("algorithms", "nowhere")


def test_a_name_claimed_twice_is_refused(third_party: Path) -> None:
    distribution(third_party, "more-rules", "[bench.algorithms]\nmine = someone_elses:Mine\n")
    importlib.invalidate_caches()
    with pytest.raises(
        ConfigError, match=r"'mine' comes from (some|more)-rules 1\.2 and from (some|more)-rules 1\.2; uninstall all but one"
    ):
        registry.load("algorithms", "mine")
    twice = [e for e in registry.listing("algorithms") if e.name == "mine"]
    assert len(twice) == 2 and all("comes from" in (e.error or "") for e in twice)


@pytest.mark.parametrize("name", ["algorithms", "tasks"])
def test_a_foreign_package_of_our_name_is_told_in_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    code = (
        "from bench import registry\nfrom bench.errors import ConfigError\n"
        f"try:\n    registry.names({name!r})\nexcept ConfigError as error:\n    print(error)\n"
    )
    said = python(code, tmp_path)
    assert (
        said == f"the package {name!r} comes from {tmp_path / name}, not from {ROOT}; uninstall what put it there or take it off the path"
    )


def package(folder: Path, **modules: str) -> registry._Reader:
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return registry._Reader(registry.Kind("odd", ("odd.base:Base",)), folder)


BASE = """
from abc import ABC, abstractmethod
class Base(ABC):
    @abstractmethod
    def go(self): ...
    @property
    @abstractmethod
    def at(self): ...
"""


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("from odd.base import Base\nclass A(Base):\n    def go(self): ...\n    at = 1\n", True),
        ("from odd.base import Base\nclass A(Base):\n    def go(self): ...\n    at: int = 1\n", True),
        ("from odd.base import Base\nclass A(Base):\n    def go(self): ...\n    at: int\n", False),
        ("from odd.base import Base as B\nclass A(B):\n    def go(self): ...\n", False),
        ("from odd.half import Half\nclass A(Half):\n    at = 1\n", True),
        ("from odd import half\nclass A(half.Half):\n    at = 1\n", True),
        ("from odd.half import Half\nclass A(Half): ...\n", False),
        ("from odd.half import Half\nclass _A(Half):\n    at = 1\n", False),
        ("from odd.base import Base\nclass Mixin:\n    at = 1\n    def go(self): ...\nclass A(Mixin, Base): ...\n", True),
        ("class Base:\n    def go(self): ...\n", False),
        ("from other.base import Base\nclass A(Base): ...\n", False),
        ("x = 1\n", False),
        ("class A(:\n", True),
    ],
)
def test_which_files_are_plug_ins(text: str, listed: bool, tmp_path: Path) -> None:
    half = "from odd.base import Base\nclass Half(Base):\n    def go(self): ...\n"
    reader = package(tmp_path, base=BASE, half=half, it=text)
    assert not reader.defines("odd.base") and not reader.defines("odd.half")
    assert reader.defines("odd.it") == listed


def test_a_package_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KINDS, "algorithms", registry.Kind("no_such_package", ()))
    with pytest.raises(ConfigError, match=r"the package 'no_such_package' is missing beside .*bench; install bench again"):
        registry.names("algorithms")


def test_settings_must_be_those_of_a_frozen_dataclass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KINDS, "algorithms", registry.Kind("algorithms", ("pathlib:PurePath",)))
    with pytest.raises(ConfigError, match="PurePath must be a frozen dataclass; its fields are its settings"):
        registry._checked("algorithms", type(Path("x")).__mro__[-2], "pathlib")


def test_a_file_with_two_plug_ins_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    grpo, dapo = registry.load("algorithms", "grpo"), registry.load("algorithms", "dapo")
    monkeypatch.setattr(dapo, "__module__", "algorithms.grpo")
    monkeypatch.setattr(sys.modules["algorithms.grpo"], "DAPO", dapo, raising=False)
    with pytest.raises(ConfigError, match=r"algorithms\.grpo must define exactly one plug-in class; it defines GRPO, DAPO"):
        registry.load("algorithms", "grpo")
    assert grpo.__module__ == "algorithms.grpo"
