"""What the distribution holds, and that what it declares is what it needs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bench
from bench import registry
from bench.doctor import CORE, DISTRIBUTION, EXTRAS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {"algorithms", "bench", "tasks"}
OTHER_NAMES = {"datasets": "full", "vllm": "vllm", "math_verify": "math", "minari": "offline"}  # modules that only an extra brings
OTHER_NAMES |= {
    "tensorboard": "track",
    "wandb": "track",
    "trackio": "trackio",
    "peft": "lora",
    "bitsandbytes": "optim",
    "reasoning_gym": "rg",
}
DEVELOPERS_TOOLS = {"hatchling", "hypothesis", "import-linter", "mypy", "pytest", "ruff"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the backend itself, which needs no network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert wheel.name.startswith(f"{DISTRIBUTION.replace('-', '_')}-{bench.__version__}-")


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """Base models and recipes are data that a build may leave out without a word."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    there = {path.relative_to(ROOT).as_posix() for path in files}
    assert {name.rpartition(".")[2] for name in there} >= {"py", "toml", "safetensors"}
    assert held == there


def test_the_wheel_declares_the_script_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    assert "bench = bench.cli:main" in texts["entry_points.txt"]
    assert "License-Expression: Apache-2.0" in texts["METADATA"]
    assert texts["LICENSE"] == (ROOT / "LICENSE").read_text()


def test_every_foreign_import_is_declared() -> None:
    declared = {normal(Requirement(line).name) for line in PROJECT["dependencies"]}
    modules = {name for package in PACKAGES for path in (ROOT / package).rglob("*.py") for name in _imported(path)}
    foreign = modules - set(sys.stdlib_module_names) - PACKAGES - {"__future__"}
    assert "torch" in foreign
    assert {normal(module) for module in foreign if module not in OTHER_NAMES} <= declared
    assert {OTHER_NAMES[module] for module in foreign if module in OTHER_NAMES} <= set(PROJECT["optional-dependencies"])


def _imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}}


def test_constraints_pin_all_that_the_tests_run_with() -> None:
    pins = _pins()
    wanted = [*PROJECT["dependencies"], *(line for extra in ("full", "track", "dev") for line in PROJECT["optional-dependencies"][extra])]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pins[normal(requirement.name)]), requirement
    assert pins["torch"] == "2.13.0"  # no local label: the CPU and the CUDA build both meet it


def _pins(file: str = "constraints.txt") -> dict[str, str]:
    lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    assert all(len(pair) == 2 for pair in pairs)
    return {normal(name): version for name, version in pairs}


def test_constraints_hold_no_cuda_library() -> None:
    assert not [name for name in _pins() if name.startswith(("nvidia", "cuda", "triton"))]


def test_the_environment_of_vllm_pins_what_bench_needs_and_nothing_built_for_cuda() -> None:
    pins, ours = _pins("constraints-vllm.txt"), _pins()
    for requirement in map(Requirement, (*PROJECT["dependencies"], "pytest", "hypothesis")):
        assert requirement.specifier.contains(pins[normal(requirement.name)]), requirement
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "triton", "torchvision", "torchaudio", "torchcodec"))]
    for name in ("torch", "transformers", "tokenizers", "safetensors"):  # the figures of both environments are then comparable
        assert pins[name] == ours[name]


def test_the_doctor_knows_what_is_declared() -> None:
    assert {normal(Requirement(line).name) for line in PROJECT["dependencies"]} == set(CORE)
    assert set(PROJECT["optional-dependencies"]) - {"dev", "oracle", "oracle-offline"} == set(EXTRAS)
    assert PROJECT["name"] == DISTRIBUTION


def test_no_tool_of_the_developers_is_a_dependency() -> None:
    assert not DEVELOPERS_TOOLS & {normal(Requirement(line).name) for line in PROJECT["dependencies"]}


@pytest.mark.parametrize("kind", ["algorithms", "tasks", "metrics"])
def test_the_readme_lists_what_there_is(kind: str) -> None:
    """To mend it, put the output of `bench ls KIND --markdown` between the markers."""
    found = re.search(rf"<!-- {kind} -->\n(.*?)\n<!-- /{kind} -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    assert found[1] == registry.markdown(kind).rstrip()


@pytest.mark.slow
def test_the_wheel_runs_where_only_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    """Outside the checkout: plug-ins, recipes and base models are found in the installed copy."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path / "site"), str(wheel)]
    subprocess.run(command, check=True, timeout=120)
    site = str(tmp_path / "site")
    code = f"import sys; sys.path.insert(0, {site!r}); from bench.resolve import Request, resolve; import bench; print(bench.__file__); "
    code += "print(resolve(Request(algorithm='gspo', task='last_digit', tier='tiny')).table)"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"{site}/bench/__init__.py", "last_digit-tiny"]
