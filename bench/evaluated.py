"""What an evaluation without training found: the scores of each problem, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.evaluation import pass_at_k
from bench.rollout import Group
from bench.stats.shares import items_interval


@dataclass(frozen=True)
class Item:
    """One problem's completions, as scores; lists run over the completions."""

    id: str
    strict: list[float]
    lenient: list[float]
    errors: list[float]  # 1 where the verifier gave up
    tokens: list[int]
    truncated: list[bool]
    text: str  # of the first completion

    @classmethod
    def of(cls, group: Group) -> Item:
        scores = group.scores
        return cls(
            group.problem.id,
            [s.correct for s in scores],
            [s.parts.get("lenient", s.correct) for s in scores],
            [s.parts.get("error", 0.0) for s in scores],
            [len(c.tokens) for c in group.completions],
            [c.truncated for c in group.completions],
            group.completions[0].text,
        )


def summary(items: Sequence[Item]) -> dict[str, Any]:
    """Scores with 95 % intervals over problems, pass@k, truncation, length and errors; JSON values."""
    n = len(items[0].strict)
    found: dict[str, Any] = {name: _score([sum(getattr(item, name)) / n for item in items]) for name in ("strict", "lenient")}
    for k in (2**i for i in range(1, n.bit_length())):
        found[f"pass@{k}"] = _score([pass_at_k(n, round(sum(item.strict)), k) for item in items])
    total = n * len(items)
    found |= {name: sum(sum(getattr(item, name)) for item in items) / total for name in ("truncated", "errors")}
    tokens = sum(sum(item.tokens) for item in items)
    return found | {"length": tokens / total, "problems": len(items), "completions": n, "tokens": tokens}


def rows(items: Sequence[Item]) -> list[dict[str, Any]]:
    """As JSON values."""
    return [asdict(item) for item in items]


def _score(shares: list[float]) -> dict[str, float]:
    found = items_interval(shares)
    return {"value": found.value, "low": found.low, "high": found.high}
