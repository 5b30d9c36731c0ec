"""What comparisons with other libraries need, where those are installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from bench.peers import compare

Test = TypeVar("Test", bound=Callable[..., None])


def with_peers(test: Test) -> Test:
    """Needs one of them; what it warns of is its own affair."""
    return pytest.mark.oracle(pytest.mark.filterwarnings("ignore")(test))  # type: ignore[no-any-return]


def agree(peer: str, rule: str) -> bool:
    """Whether everything does that is not different by design."""
    return all(each.holds for each in compare(peer, rule) if not each.by_design)
