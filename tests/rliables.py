"""rliable, where it is installed."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest


def rliable() -> tuple[Any, Any]:
    """Its `library` and `metrics`. It needs `arch.bootstrap` alone, and arch 7 as a whole, which it pins, does not import beside
    pandas 3: the parts that do not are stepped around."""
    if find_spec("rliable") is None:
        pytest.skip("rliable is not installed; `make oracle` brings it")
    if "arch" not in sys.modules:
        found = find_spec("arch")
        assert found is not None and found.submodule_search_locations is not None
        bare = ModuleType("arch")
        bare.__path__ = list(found.submodule_search_locations)
        sys.modules["arch"] = bare
    return import_module("rliable.library"), import_module("rliable.metrics")
