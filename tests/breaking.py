"""Which contracts a plug-in breaks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.checks import Contract
from bench.checks.expect import DoesNotApply


def broken_by(plug_in: Any, contracts: Iterable[tuple[str, Contract]]) -> set[str]:
    """The names of those that fail; one that asks nothing of the plug-in is not broken."""
    found = set()
    for _, contract in contracts:
        try:
            contract(plug_in)
        except DoesNotApply:
            continue
        except Exception:  # a plug-in that crashes breaks the contract, too
            found.add(contract.__name__)
    return found
