from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import data, gsm8k_data
from tasks.base import SPLITS, Problem
from tasks.gsm8k import GSM8K

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "gsm8k"


def write(folder: Path, train: list[Any], test: list[Any]) -> str:
    for name, rows in (("train", train), ("test", test)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(folder)


def row(i: int) -> dict[str, str]:
    return {"question": f"What is {i} + 1?", "answer": f"{i}+1=<<{i}+1={i + 1}>>{i + 1}\n#### {i + 1}"}


def questions(problems: list[Problem]) -> list[str]:
    return [data.normal(problem.prompt) for problem in problems]


def finite(split: Any, source: str) -> list[Problem]:
    return list(islice(gsm8k_data.problems(split, 0, source), len(gsm8k_data.split_rows(split, source))))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return write(tmp_path, [row(i) for i in range(300)], [row(i) for i in range(1000, 1050)])


def test_every_problem_is_in_one_split(folder: str) -> None:
    found = {split: set(questions(finite(split, folder))) for split in SPLITS}
    assert found["heldout"] == {data.normal(row(i)["question"]) for i in range(1000, 1050)}
    assert found["train"] | found["tune"] == {data.normal(row(i)["question"]) for i in range(300)}
    assert not found["train"] & found["tune"]
    assert 15 <= len(found["tune"]) <= 45


def test_a_question_in_two_places_stays_in_one(tmp_path: Path) -> None:
    twice = {"question": "  what IS 1000\n+ 1?", "answer": "#### 1001"}
    source = write(tmp_path, [row(3), twice, row(3), *map(row, range(4, 60))], [row(1000), row(1000)])
    assert questions(finite("heldout", source)) == ["what is 1000 + 1?"]
    rest = questions(finite("train", source)) + questions(finite("tune", source))
    assert sorted(rest) == sorted({data.normal(row(i)["question"]) for i in range(3, 60)})


def test_train_is_reshuffled_each_epoch_and_by_seed_while_the_others_end(folder: str) -> None:
    size = len(gsm8k_data.split_rows("train", folder))
    first, second = [questions(list(islice(gsm8k_data.problems("train", 7, folder), a, a + size))) for a in (0, size)]
    assert sorted(first) == sorted(second)
    assert first != second
    assert first == questions(list(islice(gsm8k_data.problems("train", 7, folder), size)))
    assert first != questions(list(islice(gsm8k_data.problems("train", 8, folder), size)))
    for split in ("tune", "heldout"):
        assert questions(list(gsm8k_data.problems(split, 7, folder))) == questions(list(gsm8k_data.problems(split, 8, folder)))


def test_ids_are_unique_over_epochs(folder: str) -> None:
    problems = list(islice(gsm8k_data.problems("train", 0, folder), 700))
    assert len({problem.id for problem in problems}) == 700


def test_the_task_scores_its_own_answers(folder: str) -> None:
    task = GSM8K(tier="full", data=folder)
    for split in SPLITS:
        for problem in islice(task.problems(split, 0), 30):
            assert problem.facts["gold"] == problem.answer.rpartition(" ")[2]
            assert problem.prompt.startswith(problem.facts["question"])
            assert "####" in problem.prompt
            assert task.score(problem, problem.answer).reward == 1


def test_all_real_gold_answers_score_one() -> None:
    if not REAL.is_dir():
        pytest.skip("the GSM8K files are not beside this checkout")
    task, problems = GSM8K(tier="full", data=str(REAL)), {split: finite(split, str(REAL)) for split in SPLITS}
    assert sum(map(len, problems.values())) == 8792
    assert 650 < len(problems["tune"]) < 850
    assert len(problems["heldout"]) == 1319
    for problem in (problem for split in SPLITS for problem in problems[split]):
        score = task.score(problem, problem.answer)
        assert (score.reward, score.correct, score.parts["lenient"]) == (1, 1, 1), problem


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[" * 100_000, "line 2: not JSON"),
        ("[1, 2]", "line 2: '\\[1, 2\\]' is no"),
        ('{"question": "why?"}', "mend or delete"),
        ('{"question": "why?", "answer": 3}', "mend or delete"),
        ('{"question": " ", "answer": "#### 3"}', "mend or delete"),
        ('{"question": "why?", "answer": "three"}', "must end in '#### ' and a number"),
        ('{"question": "why?", "answer": "#### 3\\n#### 4"}', "must end in '#### ' and a number"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(f"{json.dumps(row(1))}\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        gsm8k_data.load("test", str(tmp_path))
    assert f"{path}, line 2" in str(caught.value)


def test_blank_lines_and_line_separators_inside_text_are_no_lines(tmp_path: Path) -> None:
    question = "What is\u2028 1 + 1?"
    text = json.dumps({"question": question, "answer": "#### 2"}, ensure_ascii=False)
    (tmp_path / "test.jsonl").write_text(f"\n{text}\n\n", encoding="utf-8")
    assert gsm8k_data.load("test", str(tmp_path)) == [(question, "#### 2", "2")]


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match=r"test\.jsonl is not UTF-8"):
        gsm8k_data.load("test", str(tmp_path))


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'heldout' of GSM8K in .* is empty"):
        next(gsm8k_data.problems("heldout", 0, write(tmp_path, [row(1)], [])))


def names_the_ways(message: str) -> bool:
    return all(way in message for way in ("hub", "cache", "--set task.data=FOLDER", "--tier tiny"))


def test_a_missing_folder_names_the_ways(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent") as caught:
        next(gsm8k_data.problems("train", 0, str(tmp_path / "absent")))
    assert names_the_ways(str(caught.value))


def test_a_missing_library_names_the_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match="not installed") as caught:
        gsm8k_data.load("test")
    assert names_the_ways(str(caught.value))


def hub(monkeypatch: pytest.MonkeyPatch, load_dataset: Any) -> None:
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))


def test_a_hub_out_of_reach_names_the_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route\nto the hub")

    hub(monkeypatch, refuse)
    with pytest.raises(FileNotFoundError, match=r"could not be loaded \(ConnectionError: no route\)") as caught:
        gsm8k_data.load("test")
    assert names_the_ways(str(caught.value))


def test_the_hub_is_asked_for_the_pinned_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(*names: str, **options: str) -> Any:
        asked.append((names, options))
        return [row(i) for i in range(1319)]

    hub(monkeypatch, load_dataset)
    assert len(gsm8k_data.load("test")) == 1319
    assert asked == [(("openai/gsm8k", "main"), {"split": "test", "revision": gsm8k_data.REVISION})]


def test_without_the_pinned_revision_the_cache_serves_and_its_size_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1319

    def load_dataset(*_: str, **options: str) -> Any:
        if "revision" in options:
            raise ConnectionError
        return [row(i) for i in range(size)]

    hub(monkeypatch, load_dataset)
    assert len(gsm8k_data.load("test")) == 1319
    size = 7
    with pytest.raises(ValueError, match="has 7 rows in test, not 1319"):
        gsm8k_data.load("test")


@pytest.mark.network
def test_the_hub_has_the_rows_of_the_paper() -> None:
    assert (len(gsm8k_data.load("train", "")), len(gsm8k_data.load("test", ""))) == (7473, 1319)
