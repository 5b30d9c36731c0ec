"""Two entries side by side: by how much they differ, and how well the runs tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.board.scores import Scores
from bench.stats.estimate import Estimate, unknown
from bench.stats.two_level import difference, difference_of_seeds, score, score_of_seeds

NO_SCORE = "a seed has no final score, and without a scale there is none to give it"


@dataclass(frozen=True)
class Pair:
    """The first entry less the second."""

    estimate: Estimate
    items: int  # held-out items that both were asked and are paired by; 0: seeds alone
    seeds: tuple[int, int]
    lacking: str  # why items are not paired, in a few words; empty where they are

    @property
    def p(self) -> float:
        """Two-sided, of no difference; NaN where it cannot be tested.

        Where neither entry's seeds differ at all there is no error to compare with: the p value is then that of an exact permutation test
        (Pitman 1937, Supplement to the JRSS 4), in which two of all ways to deal the seeds out are as extreme.
        """
        if self.estimate.error == 0 and self.estimate.value:
            return 2 / math.comb(sum(self.seeds), self.seeds[0])
        return self.estimate.p_value()


def pair(a: Scores, b: Scores) -> Pair:
    """Two-level and paired by item where the items of both are known and the same; else by seed alone.

    What cannot be estimated, of one seed or of seeds without a score, has NaN for an error, and a note that says why.
    """
    seeds = len(a.seeds), len(b.seeds)
    if not (a.defined and b.defined):
        return Pair(unknown(math.nan, NO_SCORE), 0, seeds, NO_SCORE)
    lacking = a.lacking or b.lacking
    if a.items is None or b.items is None:
        return Pair(difference_of_seeds(a.values, b.values), 0, seeds, lacking)
    if a.key != b.key or a.items.shape[1] != b.items.shape[1]:
        return Pair(difference_of_seeds(a.values, b.values), 0, seeds, "they were evaluated on different items")
    return Pair(difference(a.items, b.items), a.items.shape[1], seeds, "")


def single(a: Scores) -> Estimate:
    """The mean score of one entry: over seeds and items where items are known, else over seeds alone."""
    if not a.defined:
        return unknown(math.nan, NO_SCORE)
    return score_of_seeds(a.values) if a.items is None else score(a.items)
