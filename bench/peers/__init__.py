"""Our rules beside those of other libraries: the same batches through both, and how far the answers are apart.

A peer is needed for the comparison and for nothing else; nothing here imports one before it is asked to. Each of a peer's case modules
has CASES: for a rule, or for a part that several rules share, a function that yields what was compared.
"""

from __future__ import annotations

import importlib
import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from bench import registry
from bench.errors import ConfigError, MissingError, unknown

Case = Callable[[], "Iterator[Agreement]"]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One quantity from both sides. `by_design` marks a place where the peer is known to differ, shown by a number."""

    rule: str  # the rule's name, or that of a part
    what: str
    settings: str
    difference: float  # largest absolute difference over all batches
    tolerance: float | None  # None: no upper bound, for a difference that is only to be shown
    note: str = ""  # whose function was called, or why the peer differs
    by_design: bool = False
    least: float = 0.0  # a difference below this would mean that the peer no longer does what the note says

    @property
    def holds(self) -> bool:
        """Whether the difference is within its bounds; NaN never is."""
        return self.least <= self.difference <= (math.inf if self.tolerance is None else self.tolerance)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another library with rules like ours."""

    title: str
    distribution: str
    version: str  # the one whose functions the cases call
    module: str  # imports only where the peer is whole
    cases: tuple[str, ...]
    install: tuple[str, ...]

    def require(self) -> None:
        """Raises MissingError where the peer is absent, does not import, or has another version than the cases are written for."""
        remedy = f"install it with {' and '.join(f'`{line}`' for line in self.install)}, or run `make oracle`"
        try:
            found = version(self.distribution)
        except PackageNotFoundError:
            raise MissingError(f"{self.title} is not installed; {remedy}") from None
        if found != self.version:
            raise MissingError(f"{self.title} {found} is installed, but the comparison calls functions of {self.version}; {remedy}")
        try:
            with warnings.catch_warnings(action="ignore"), redirect_stderr(io.StringIO()):  # some print their warnings
                importlib.import_module(self.module)
        except ImportError as error:
            raise MissingError(f"{self.title} {found} does not import ({error}); {remedy}") from error

    def known(self) -> dict[str, list[Case]]:
        """The cases by rule or part, in the order of the case modules."""
        out: dict[str, list[Case]] = {}
        for module in map(importlib.import_module, self.cases):
            for name, case in module.CASES.items():
                out.setdefault(name, []).append(case)
        return out


EXTRA = 'pip install -c constraints.txt -e ".[oracle]"'
OFFLINE = 'pip install -c constraints.txt -e ".[oracle-offline]"'
PEERS = {
    "trl": Peer(
        title="TRL",
        distribution="trl",
        version="1.12.0",
        module="trl.trainer.grpo_trainer",
        cases=("bench.peers.trl_rules", "bench.peers.trl_differences"),
        install=(EXTRA,),
    ),
    "verl": Peer(
        title="verl",
        distribution="verl",
        version="0.9.1",
        module="verl.trainer.ppo.core_algos",
        cases=("bench.peers.verl_rules", "bench.peers.verl_parts", "bench.peers.verl_differences"),
        install=(EXTRA, "pip install --no-deps verl==0.9.1"),
    ),
    "sb3": Peer(
        title="Stable-Baselines3",
        distribution="stable-baselines3",
        version="2.9.2",
        module="stable_baselines3",
        cases=("bench.peers.sb3_rules", "bench.peers.sb3_differences"),
        install=(EXTRA,),
    ),
    "d3rlpy": Peer(
        title="d3rlpy",
        distribution="d3rlpy",
        version="2.8.1",
        module="d3rlpy",
        cases=("bench.peers.d3rlpy_rules", "bench.peers.d3rlpy_differences"),
        install=(OFFLINE, "pip install --no-deps d3rlpy==2.8.1 gym==0.26.2"),
    ),
}


def compare(peer: str, rule: str | None = None) -> Iterator[Agreement]:
    """What was compared with a peer, for one rule or for all of them and the parts they share.

    Raises ConfigError for an unknown peer or rule and for a rule that the peer has no counterpart of, MissingError without the peer.
    """
    if peer not in PEERS:
        raise unknown("peer", peer, PEERS)
    other = PEERS[peer]
    known = other.known()
    if rule is not None and rule not in known:
        if rule in registry.names("algorithms"):
            raise ConfigError(f"{other.title} has no counterpart of {rule!r} to compare with. It has those of: {', '.join(sorted(known))}")
        raise unknown(f"counterpart in {other.title}", rule, known)
    other.require()
    return (found for name, cases in known.items() if rule in (None, name) for case in cases for found in case())
