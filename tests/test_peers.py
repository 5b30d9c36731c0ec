"""The comparison with other libraries: what it says, that it can fail, and, where they are installed, that ours agree with theirs."""

from __future__ import annotations

import json
import math
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, TypeVar

import pytest
from packaging.requirements import Requirement
from torch import Tensor
from typer.testing import CliRunner, Result

from algorithms.base import Batch, Forward
from bench import peers
from bench.checks import batches
from bench.cli import app, main
from bench.errors import ConfigError, MissingError
from bench.peers import PEERS, Agreement, compare, printed
from bench.peers.compared import Counterpart, cases, difference
from bench.peers.printed import markdown, rounded_up, rows, verdict

ROOT = Path(__file__).parents[1]
Loss = Callable[[Any, Batch, Forward], Tensor]
Test = TypeVar("Test", bound=Callable[..., None])


def agreement(found: float = 0.0, **given: Any) -> Agreement:
    plain: dict[str, Any] = {"rule": "grpo", "what": "loss", "settings": "defaults", "tolerance": 1e-12}
    return Agreement(difference=found, **(plain | given))


# What is said of it


@pytest.mark.parametrize(
    ("found", "bounds", "holds"),
    [
        (0.0, {}, True),
        (1e-12, {}, True),
        (1.1e-12, {}, False),
        (math.nan, {}, False),
        (math.inf, {}, False),
        (5.0, {"tolerance": None}, True),
        (math.nan, {"tolerance": None}, False),
        (0.2, {"tolerance": None, "least": 0.1}, True),
        (0.05, {"tolerance": None, "least": 0.1}, False),
        (0.2, {"tolerance": 0.1, "least": 0.05}, False),
    ],
)
def test_an_agreement_holds_within_its_bounds(found: float, bounds: dict[str, Any], holds: bool) -> None:
    assert agreement(found, **bounds).holds is holds


def test_a_difference_by_design_must_be_seen_unless_it_has_an_upper_bound() -> None:
    assert not difference("grpo", "loss", "defaults", 1e-4, "why").holds
    assert difference("grpo", "loss", "defaults", 1e-2, "why").holds
    assert difference("grpo", "loss", "defaults", 0.0, "agrees", most=1e-12).holds
    assert not difference("grpo", "loss", "defaults", 1e-2, "agrees", most=1e-12).holds
    assert not difference("grpo", "loss", "defaults", 1e-13, "why", least=1e-12, most=1e-7).holds


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (0.0, "below 1e-14"),
        (9.9e-15, "below 1e-14"),
        (1.1e-14, "2e-14"),
        (2e-8, "2e-08"),
        (2.1e-8, "3e-08"),
        (9.5e-3, "0.01"),
        (0.7, "0.7"),
        (1.2, "2"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_differences_are_rounded_up(found: float, shown: str) -> None:
    assert rounded_up(found) == shown


FOUND = [
    agreement(2e-13),
    agreement(1e-15, what="gradient"),
    agreement(3.1e-13, settings="clip=0.05"),
    agreement(0.2, settings="log-ratio of 30", tolerance=None, note="it has no bound", by_design=True, least=1e-3),
]


def test_the_tables_for_the_readme() -> None:
    assert markdown(FOUND).splitlines() == [
        "| rule | compared | settings tried | largest difference | allowed |",
        "|---|---|---|---|---|",
        "| `grpo` | loss, gradient | 2 | 4e-13 | 1e-12 |",
        "",
        "| rule | where it differs by design | largest difference |",
        "|---|---|---|",
        "| `grpo` | it has no bound | 0.2 |",
    ]


def test_one_bad_setting_spoils_its_row() -> None:
    (row,) = rows([agreement(), agreement(math.nan), agreement(1e-13)])
    assert (row.settings, row.holds) == (3, False)
    assert math.isnan(row.difference)


def test_the_verdict_counts_and_names_what_is_not_so() -> None:
    assert verdict(FOUND) == "3 of 3 comparisons agree\n1 of 1 differences by design are as expected"
    assert verdict([agreement(), agreement(0.1, what="gradient")]).splitlines() == [
        "1 of 2 comparisons agree",
        "not so: grpo, gradient, defaults: 1.0e-01",
    ]


# That a wrong counterpart is found


def own_loss(rule: Any, of: Batch, now: Forward) -> Tensor:
    return batches.loss(rule, now, of, rule.credit(of))


def held(loss: Loss = own_loss, rule: str = "grpo", **given: Any) -> dict[str, bool]:
    """Whether each quantity agrees, for a counterpart that is ours but for `loss` and what is given."""
    wanted: dict[str, Any] = {"loss": loss, "advantage": lambda rule, of: rule.credit(of).advantage, "tolerance": 1e-12} | given
    return {each.what: each.holds for each in Counterpart(rule=rule, function="ours", **wanted).agreements()}


@pytest.mark.parametrize("rule", ["grpo", "gspo", "ppo"])
def test_a_rule_agrees_with_itself(rule: str) -> None:
    assert held(rule=rule, tolerance=0.0, empty=True) == {"advantage": True, "loss": True, "gradient": True}


def test_a_factor_is_found() -> None:
    assert held(lambda rule, of, now: 1.001 * own_loss(rule, of, now)) == {"advantage": True, "loss": False, "gradient": False}


def test_a_constant_is_found_in_the_loss_and_a_missing_slope_in_the_gradient() -> None:
    assert held(lambda rule, of, now: own_loss(rule, of, now) + 1e-6) == {"advantage": True, "loss": False, "gradient": True}
    assert held(lambda rule, of, now: own_loss(rule, of, now).detach()) == {"advantage": True, "loss": True, "gradient": False}


def test_another_clip_is_found() -> None:
    assert not held(lambda rule, of, now: own_loss(replace(rule, clip=0.21), of, now))["loss"]


def test_another_advantage_is_found() -> None:
    assert not held(advantage=lambda rule, of: -rule.credit(of).advantage)["advantage"]


def test_a_loss_that_is_not_a_number_is_found() -> None:
    assert not any(held(lambda rule, of, now: own_loss(rule, of, now) * math.nan, advantage=None).values())


def test_several_counterparts_of_a_rule_are_one_case() -> None:
    shared: dict[str, Any] = {"loss": own_loss, "tolerance": 0.0}
    made = cases(Counterpart(rule="grpo", function="a", **shared), Counterpart(rule="grpo", function="b", settings=({}, {}), **shared))
    assert [each.note for each in made["grpo"]()] == ["a"] * 2 + ["b"] * 4


# What is refused


@pytest.mark.parametrize(
    ("peer", "rule", "says"),
    [
        ("trll", None, "no peer called 'trll'. Did you mean 'trl'? Known: d3rlpy, sb3, trl, verl"),
        ("trl", "grop", "no counterpart in TRL called 'grop'. Did you mean 'grpo'? Known: cispo, "),
        ("trl", "reinforce", "TRL has no counterpart of 'reinforce' to compare with. It has those of: cispo, "),
        ("verl", "vespo", "verl has no counterpart of 'vespo' to compare with. It has those of: a2c, "),
        ("sb3", "cql", "Stable-Baselines3 has no counterpart of 'cql' to compare with. It has those of: a2c, "),
        ("d3rlpy", "ppo", "d3rlpy has no counterpart of 'ppo' to compare with. It has those of: bc, "),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(peer: str, rule: str | None, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compare(peer, rule)
    assert says in str(caught.value)


def installed(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    """As if this version of every peer were installed, or none."""

    def version(distribution: str) -> str:
        if found is None:
            raise PackageNotFoundError(distribution)
        return found

    monkeypatch.setattr(peers, "version", version)


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(("found", "says"), [(None, "is not installed; "), ("0.1", " 0.1 is installed, but the comparison calls ")])
def test_without_the_right_version_the_remedy_is_named(peer: str, found: str | None, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, found)
    with pytest.raises(MissingError) as caught:
        compare(peer)
    message = str(caught.value)
    assert message.startswith(PEERS[peer].title) and says in message
    assert all(f"`{line}`" in message for line in PEERS[peer].install)
    assert message.endswith("or run `make oracle`")


def test_a_peer_that_does_not_import_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, PEERS["trl"].version)
    with pytest.raises(MissingError, match=r"TRL 1\.12\.0 does not import \(No module named 'bench\.nowhere'\); install it with `pip "):
        replace(PEERS["trl"], module="bench.nowhere").require()


def test_one_version_of_each_peer_is_named_everywhere() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = [Requirement(line) for name in ("oracle", "oracle-offline") for line in extras[name]]
    assert all(re.fullmatch(r"==[\d.]+", str(requirement.specifier)) for requirement in needed)
    pins = {r.name: str(r.specifier) for r in needed}
    for peer in ("trl", "sb3"):
        assert pins[PEERS[peer].distribution] == f"=={PEERS[peer].version}"
    for peer in ("verl", "d3rlpy"):
        pin = f"--no-deps {peer}=={PEERS[peer].version}"
        assert pin in (ROOT / "Makefile").read_text() and any(pin in line for line in PEERS[peer].install)


# On the command line


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments])


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Agreement]:
    """What the comparison finds in place of a peer, to be filled by the test; on a narrow terminal."""
    found: list[Agreement] = []
    monkeypatch.setattr(printed, "compare", lambda peer, rule=None: iter(found))
    monkeypatch.setenv("COLUMNS", "80")
    return found


def test_without_a_name_or_a_peer_there_is_nothing_to_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "check"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("bench: nothing to check: give the name of a plug-in, or a peer to compare with by --against")


@pytest.mark.parametrize("bad", [{"found": 0.1}, {"found": math.nan}, {"found": 0.0, "by_design": True, "least": 1e-3}])
@pytest.mark.parametrize("options", [[], ["--markdown"], ["--json"], ["grpo"]])
def test_the_exit_code_is_1_where_one_does_not_hold(bad: dict[str, Any], options: list[str], answers: list[Agreement]) -> None:
    answers += FOUND
    assert run(*options, "--against", "trl").exit_code == 0
    answers.append(agreement(**bad))
    assert run(*options, "--against", "trl").exit_code == 1


@pytest.mark.parametrize("options", [["grpo"], ["grpo", "--json"], ["--against", "trl", "--json"]])
def test_tables_that_cannot_be_printed_are_refused(options: list[str], answers: list[Agreement]) -> None:
    result = run(*options, "--markdown")
    assert isinstance(result.exception, ConfigError) and result.output == ""
    assert str(result.exception) == "--markdown prints the tables of a comparison: give --against trl or verl, and no --json"


def test_each_form_of_the_output(answers: list[Agreement]) -> None:
    answers += [*FOUND, agreement(0.1, what="advantage")]
    lines = [json.loads(line) for line in run("--against", "trl", "--json").output.splitlines()]
    assert [line["holds"] for line in lines] == [True, True, True, True, False]
    assert run("--against", "trl", "--markdown").output == markdown(answers)
    for options in ([], ["grpo"]):
        output = run(*options, "--against", "trl").output
        assert "TRL 1.12.0" in output and "TRL 1.12.0 by design" in output
        assert output.endswith(verdict(answers) + "\n")


def test_a_narrow_terminal_shows_everything(answers: list[Agreement]) -> None:
    settings = "baseline=whiten, gamma=0.8, kl=0.2, kl_estimator=ratio_k3, entropy_bonus=0.02"
    note = "compute_policy_loss_reinforce, reinforce_plus_plus"
    long: dict[str, Any] = {"rule": "reinforce_plus_plus", "settings": settings, "note": note}
    answers += [agreement(what="value gradient", **long), agreement(what="loss", **long)]
    answers.append(agreement(0.5, by_design=True, tolerance=None, **long))
    one = run("reinforce_plus_plus", "--against", "verl").output
    every = run("--against", "verl").output
    assert "…" not in one + every
    assert all(len(line) <= 80 for line in (one + every).splitlines())
    assert all(word in one for word in re.split("[ ,]+", settings + " " + note))
    assert one.count("ratio_k3") == 1  # settings are said once for all that was compared under them
    assert re.search(r"reinforce_plus_plus │ loss +│ 1 +│ below 1e-14 +│ 1e-12 +│ yes", every)


# With the peers themselves
