"""What several test files share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def chance_is_ours() -> None:
    """The global generator starts the same for every test, so that no test passes by the order it runs in."""
    torch.manual_seed(0)
