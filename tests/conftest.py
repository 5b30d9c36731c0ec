"""What several test files share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

# The same examples in every run, and no folder of found ones: a failure is the code's, not the day's.
settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def chance_is_fixed() -> None:
    """The global generator starts the same for every test, so that no test passes by the order it runs in."""
    torch.manual_seed(0)


@pytest.fixture
def there(peer: str) -> str:
    """The peer's name, where it is installed."""
    from bench.errors import MissingError
    from bench.peers import PEERS

    try:
        PEERS[peer].require()
    except MissingError as missing:
        pytest.skip(str(missing))
    return peer
