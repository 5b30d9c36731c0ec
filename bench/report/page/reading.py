"""How to read the page: each term once, in plain words."""

from __future__ import annotations

from bench.report.page.elements import Html, element

TERMS = (
    (
        "Entry",
        "The runs of one specification, which differ in their seed alone. Entries share a board where task, start model, budget "
        "and evaluation are the same.",
    ),
    (
        "Score",
        "The last held-out evaluation of a run, never the best one on the way; of an entry, the mean over its seeds.",
    ),
    (
        "Interval",
        "Where another experiment of this size would put the mean, in 95 of 100 cases. Where the score of each held-out item is "
        "known, it counts both that seeds differ and that other items could have been asked; else seeds alone.",
    ),
    (
        "Rank and tie",
        "One more than the entries that are significantly better, after a correction for comparing every pair (Holm). A rank of "
        "1-3 says that nothing tells the entry from others between these places. Being tied is not transitive.",
    ),
    (
        "Smallest difference",
        "What two entries would have to differ by in truth for these runs to show it four times in five. A tie says no more "
        "than that the difference is not far above that.",
    ),
    (
        "Diverged",
        "Training left the finite numbers. That is an end like another: it counts as 0 where scores have a scale, and is said.",
    ),
    (
        "IQM",
        "Mean of the middle half of all runs over all boards (Agarwal et al. 2021). Less moved by single runs than the mean, "
        "and by more than the median.",
    ),
    (
        "Optimality gap",
        "What runs lack to 1, on average; what lies above 1 does not make up for it.",
    ),
    (
        "Performance profile",
        "For each score, the share of runs that reach it.",
    ),
    (
        "Probability of improvement",
        "How likely a run of one entry is to score above a run of another, ties counted half.",
    ),
    (
        "Entropy",
        "How undecided the policy is, in nats per token or action. Once it is near 0, nothing new is tried.",
    ),
    (
        "Gate",
        "The share of the gradient that clipping, or what takes its place, lets through; 1 is all of it.",
    ),
    (
        "KL",
        "How far the policy has moved: from the one that sampled the batch, and from the start model.",
    ),
    (
        "Controls",
        "Entries that are there to be beaten: the start model as it is, and training on rewards that say nothing. A figure "
        "means something only beside theirs.",
    ),
)


def section() -> Html:
    """The terms as a list."""
    rows = [[element("dt", name), element("dd", text)] for name, text in TERMS]
    return element("section", element("h2", "How to read this page"), element("dl", rows, class_="terms"), id="reading")
