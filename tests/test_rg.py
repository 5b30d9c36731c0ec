"""Data sets of reasoning-gym as tasks: names, splits, settings, scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import pytest

from bench.errors import ConfigError, MissingError
from bench.repeat import command
from bench.resolve import Request, resolve
from bench.verifying import Verifier
from tasks import rg
from tasks.base import SPLITS, Problem
from tasks.rg import RG

SUMS = RG(config='{"min_terms": 2, "max_terms": 2}')


def posed(task: RG) -> Problem:
    return next(task.problems("train", 0))


def asked(task: str, *settings: str) -> Request:
    return Request(algorithm="grpo", task=task, model="base:gsm8k", settings=settings)


def test_a_run_is_filed_under_the_data_sets_name_and_can_be_repeated() -> None:
    spec = resolve(asked("rg:leg_counting", 'task.config={"max_animals": 5}', "task.partial=true"))
    assert (spec.table, spec.task.name, spec.task.settings["id"]) == ("rg-leg_counting-full", "rg", "leg_counting")
    line = command(json.loads(json.dumps(asdict(spec))), spec.run_id)
    assert "--task rg:leg_counting" in line and """'task.config={"max_animals": 5}'""" in line and "task.partial=true" in line


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("rg:leg_countin", (), "no data set called 'leg_countin'. Did you mean leg_counting"),
        ("rg", (), "rg stands for many tasks; name one, such as --task rg:chain_sum"),
        ("rg:", (), "rg stands for many tasks"),
        ("rg:chain_sum", ("task.config=[1]",), "it takes a JSON object"),
        ("rg:chain_sum", ("task.config={",), "it takes a JSON object"),
        ("rg:chain_sum", ('task.config={"terms": 3}',), "config holds 'terms', which chain_sum does not have; it has .*min_terms"),
        ("rg:chain_sum", ('task.config={"size": 3}',), "config holds 'size'"),
        ("rg:chain_sum", ('task.config={"min_terms": 9, "max_terms": 3}',), "chain_sum does not take the config"),
    ],
)
def test_a_name_or_setting_that_cannot_be_is_said_at_once(task: str, settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(asked(task, *settings))


def test_without_the_library_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(MissingError, match=r'reasoning-gym \(pip install "rl-bench-suite\[rg\]"\)'):
        resolve(asked("rg:chain_sum"))


def test_one_spelling_of_a_config_is_one_run() -> None:
    assert RG(config='{ "max_terms":4,"min_terms": 3 }') == RG(config='{"min_terms": 3, "max_terms": 4}')
    assert RG(config="{}") == RG()


def test_what_changes_with_pythons_sets_is_refused_unless_they_are_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    with pytest.raises(ConfigError, match="PYTHONHASHSEED=0"):
        resolve(asked("rg:ransom_note"))
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    assert resolve(asked("rg:ransom_note")).table == "rg-ransom_note-full"


def test_the_same_seed_gives_the_same_problems_in_another_process() -> None:
    code = "from itertools import islice; from tasks.rg import RG; print([p.prompt for p in islice(RG().problems('heldout', 3), 5)])"
    root = Path(rg.__file__).parents[1]
    ready = os.environ | {"PYTHONPATH": str(root), "PYTHONHASHSEED": "5"}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ready, check=True)
    assert told.stdout.strip() == str([p.prompt for p in islice(RG().problems("heldout", 3), 5)])


def test_the_config_reaches_the_data_set() -> None:
    assert all(p.facts["question"].count("+") + p.facts["question"].count("-") == 1 for p in islice(SUMS.problems("train", 0), 20))


def test_a_small_space_of_questions_is_shared_out_and_never_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = RG(id="chain_sum", config='{"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}')
    keys = {split: {tiny.key(p) for p in islice(tiny.problems(split, 1), 150)} for split in SPLITS}
    assert not (keys["train"] & keys["tune"] or keys["train"] & keys["heldout"] or keys["tune"] & keys["heldout"])
    assert len(keys["train"]) > len(keys["heldout"]) > 5
    monkeypatch.setattr(rg, "_split", lambda *_: "train")
    with pytest.raises(ValueError, match="too few that differ"):
        next(tiny.problems("heldout", 0))


def test_scores_are_the_data_sets_own() -> None:
    problem = posed(SUMS)
    right = problem.answer.removeprefix("<answer>").removesuffix("</answer>")
    cases = {
        f"So <answer> {right}\n</answer>": (1, 1, 1),
        f"It is\n{right}": (0, 1, 0),
        f"<answer>{right}</answer> <answer>1</answer>": (0, 0, 0),
        f"<answer>0</answer> <answer>{right}</answer>": (0, 1, 0),
        f"<answer>{right}": (0, 0, 0),
        f"<answer>{right} apples</answer>": (0, 0, 1),
        "<answer></answer>": (0, 0, 1),
        "<answer>open('x')</answer>": (0, 0, 1),
    }
    for text, verdict in cases.items():
        score = SUMS.score(problem, text)
        assert tuple(score.parts[part] for part in ("strict", "lenient", "format")) == verdict, text
        assert score.reward == score.correct == verdict[0]


def test_a_part_is_paid_where_asked_and_counts_as_wrong_all_the_same() -> None:
    problem = posed(SUMS)
    text = problem.answer.replace("</answer>", " apples</answer>")
    paid = replace(SUMS, partial=True).score(problem, text)
    assert 0 < paid.reward < 1 and paid.correct == 0 and paid.parts["partial"] == paid.reward
    assert SUMS.score(problem, text).reward == 0
    assert replace(SUMS, partial=True).score(problem, problem.answer).reward == 1


def test_what_its_program_would_run_as_python_is_wrong_unread(tmp_path: Path) -> None:
    task, target = RG(id="countdown"), tmp_path / "written"
    problem = posed(task)
    calls = (f"open('{target}', 'w').close() or 1", f"[].__class__ and 1 or '{target}'", "exec ('1')")
    with Verifier(task, time_limit=2) as verifier:
        verdicts = verifier.score([(problem, f"<answer>{call}</answer>") for call in calls] + [(problem, problem.answer)])
    assert [verdict.correct for verdict in verdicts] == [0, 0, 0, 1] and not target.exists()


def test_a_question_that_comes_out_another_is_an_error() -> None:
    problem = posed(SUMS)
    with pytest.raises(ValueError, match="another question"):
        SUMS.score(replace(problem, facts=problem.facts | {"question": "Why?"}), problem.answer)
