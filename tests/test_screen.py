"""What a person sees of a run."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console
from runs import record, spec

from bench.config import Choice, RewardSettings, RunSpec
from bench.record import Record
from bench.screen import Live, summary

JUDGED = {
    "reward_model/pairs": 700.0,
    "reward_model/accuracy": 0.81,
    "reward_model/margin": 1.5,
    "reward_model/calibration_error": 0.04,
    "eval/pass@1": 0.25,
    "eval/model_belief": 0.3,
    "eval/model_gap": 0.05,
    "eval/model_score": 0.0,
}


def at(step: int, probes: dict[str, float]) -> Record:
    return replace(record(step), eval_score=probes.get("eval/pass@1"), probes=probes)


def shown(of: RunSpec, *records: Record, terminal: bool = False) -> list[str]:
    """The lines that a run prints."""
    out = StringIO()
    with Live(Console(file=out, force_terminal=terminal, width=200), [of]) as live:
        for each in records:
            live.observe(of, each)
    return out.getvalue().splitlines()


def table(*records: Record) -> dict[str, list[str]]:
    """The summary's cells by their title."""
    out = StringIO()
    Console(file=out, width=200).print(summary([list(records)]))
    cells = [[cell.strip() for cell in line.split("│")] for line in out.getvalue().splitlines() if "│" in line]
    return {title: rest for title, *rest in cells}


def test_a_line_shows_what_is_known() -> None:
    lines = shown(
        spec(),
        at(0, {"eval/pass@1": 0.25}),
        at(1, {"eval/pass@1": 0.5, "entropy/token": 0.4, "gate": 1.0}),
        at(2, {"entropy/token": 0.3}),
    )
    assert lines == [
        "step    0  samples      0  score 0.250      2 s",
        "step    1  samples      8  score 0.500  entropy 0.400  gate 1.000      2 s",
    ]


def test_rules_on_pairs_and_rules_with_a_critic_have_figures_of_their_own() -> None:
    (pairs,) = shown(spec(), at(1, {"eval/pass@1": 0.5, "pairs/accuracy": 0.75}))
    (critic,) = shown(spec(), at(1, {"eval/pass@1": 0.5, "gate": 1.0, "value/explained_var": -0.25}))
    assert pairs == "step    1  samples      8  score 0.500  pairs in order 0.750      2 s"
    assert critic == "step    1  samples      8  score 0.500  gate 1.000  critic explains -0.250      2 s"


def test_a_reward_model_is_introduced() -> None:
    of = replace(spec(), reward=Choice("model", vars(RewardSettings())))
    announced, quality, line = shown(of, at(0, JUDGED))
    assert announced == "a reward model pays, once it has learnt from comparisons of 2560 completions, which count as samples"
    assert quality == (
        "reward model: learnt from 700 pairs; of pairs on other prompts, 0.810 in order (a coin: 0.5), "
        "margin 1.500, calibration error 0.040"
    )
    assert "score 0.250  belief 0.300" in line
    poor = shown(of, at(0, JUDGED | {"reward_model/accuracy": 0.53}))
    assert poor[2] == "that is hardly better than a coin: raise reward.prompts or reward.epochs"


def test_a_terminal_keeps_the_newest_evaluation_in_sight() -> None:
    lines = shown(spec(), at(0, JUDGED), at(1, {"gate": 0.5}), terminal=True)
    assert any("step    1" in line and "score 0.250  belief 0.300  gate 0.500" in line for line in lines)


def test_the_summary_has_a_row_for_what_was_measured_and_for_nothing_else() -> None:
    first, last = JUDGED, {"eval/pass@1": 0.2, "eval/model_gap": 0.15, "value/explained_var": 0.5, "pairs/count": 31.0}
    rows = table(at(0, first), at(1, {"eval/pass@1": 0.5}), at(2, last))
    assert rows["held-out score (pass@1)"] == ["0.250", "0.500", "0.200"]
    assert rows["reward model: pairs in order"] == ["0.810", "", ""]
    assert rows["reward model: belief less the truth"] == ["0.050", "", "0.150"]
    assert rows["returns explained by the critic"] == ["0.500", "", "0.500"]
    assert rows["pairs per rollout batch"] == ["31", "", "31"]
    assert not {"gate (share of gradient kept)", "prompts without a pair"} & rows.keys()


def several(*observed: tuple[int, Record], seeds: int = 3) -> list[str]:
    """The lines of a run of several seeds, from records with whose they are."""
    out, specs = StringIO(), [replace(spec(), seed=seed) for seed in range(seeds)]
    with Live(Console(file=out, width=200), specs) as live:
        for seed, each in observed:
            live.observe(specs[seed], each)
    return out.getvalue().splitlines()


def judged(step: int, score: float) -> Record:
    return at(step, {"eval/pass@1": score})


def test_a_line_of_several_seeds_waits_for_all_of_them() -> None:
    lines = several(*((seed, judged(step, (1 + step) * seed / 10)) for step in range(2) for seed in range(3)))
    assert [line[:60] for line in lines] == [
        "step    0  samples      0  score 0.100 (0.000 to 0.200)     ",
        "step    1  samples      8  score 0.200 (0.000 to 0.400)     ",
    ]


def test_seeds_that_have_ended_or_wait_for_their_turn_hold_no_line_back() -> None:
    lines = several(*((seed, judged(step, seed / 10)) for step in range(2) for seed in (0, 1)), (2, judged(0, 0.5)), (2, judged(1, 0.9)))
    assert [line[:57] for line in lines] == [
        "step    0  samples      0  score 0.050 (0.000 to 0.100)  ",
        "step    1  samples      8  score 0.200 (0.000 to 0.500)  ",
        "step    1  samples      8  score 0.900      2 s",
    ]
