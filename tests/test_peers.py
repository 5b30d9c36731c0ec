"""The comparison with other libraries: what it says, that it can fail, and, where they are installed, that ours agree with theirs."""

from __future__ import annotations

import json
import math
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import pytest
from packaging.requirements import Requirement
from torch import Tensor
from typer.testing import CliRunner, Result

from algorithms import ops
from algorithms.base import Batch, Forward, PolicyGradient
from algorithms.dpo import DPO
from algorithms.value import ValueRule
from bench import peers, registry
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


POLICY = [name for name in registry.names("algorithms") if issubclass(registry.load("algorithms", name), PolicyGradient)]
VALUED = [name for name in registry.names("algorithms") if issubclass(registry.load("algorithms", name), ValueRule)]
RULES = [(peer, rule) for peer, other in PEERS.items() for rule in other.known() if rule in POLICY and (peer, rule) != ("verl", "rloo")]
# Settings that need not show: those of the loop, of a baseline, gate or penalty that a peer lacks, and GSPO's form per token, which is the
# same where a path has one advantage.
SILENT = {
    "cispo": {"ratio_floor"},
    "dapo": {"dynamic_sampling", "max_rounds", "on_exhausted", "surplus", "overlong_cache"},
    "gspo": {"per_token"},
    "ppo": {"target_kl"},
    "reinforce": {"decay"},
    "sapo": {"clip", "eta", "offset"},
}
UNKNOWN = {("sb3", "ppo"): {"dual_clip", "value_clip"}, ("sb3", "a2c"): {"value_clip"}}  # None in all that such a peer is asked
PARTS = [
    ("sb3", "gae", "gae"),
    ("trl", "overlong", "overlong_penalty"),
    ("trl", "whitening", "whitened"),
    ("verl", "adaptive kl", "adapted_kl"),
    ("verl", "averaging", "sequence_mean"),
    ("verl", "averaging", "token_mean"),
    ("verl", "critic", "gae"),
    ("verl", "critic", "value_error"),
    ("verl", "kl", "kl_in_loss"),
    ("verl", "kl", "kl_value"),
    ("verl", "rloo", "group_centred"),
    ("verl", "whitening", "whitened"),
]


def test_everything_compared_has_a_fault_below() -> None:
    """Or, for value rules and what they share, in test_peers_values.py."""
    known = {(peer, name) for peer, other in PEERS.items() for name in other.known()}
    valued = {(peer, name) for peer, name in known if name in VALUED}
    assert known == {*RULES, *valued, *((peer, part) for peer, part, _ in PARTS), ("trl", "dpo"), ("d3rlpy", "tanh density")}


def with_peers(test: Test) -> Test:
    """Needs one of them; what it warns of is its own affair."""
    return pytest.mark.oracle(pytest.mark.filterwarnings("ignore")(test))  # type: ignore[no-any-return]


@pytest.fixture
def there(peer: str) -> str:
    """The peer's name, where it is installed."""
    try:
        PEERS[peer].require()
    except MissingError as missing:
        pytest.skip(str(missing))
    return peer


def agree(peer: str, rule: str) -> bool:
    """Whether everything does that is not different by design."""
    return all(each.holds for each in compare(peer, rule) if not each.by_design)


def other_setting(rule: Any, name: str) -> Any:
    """The rule with one setting a twentieth lower, switched, or the choice before it; itself where the setting is None."""
    value = getattr(rule, name)
    if isinstance(value, str):
        choices = get_args(get_type_hints(type(rule))[name])
        return replace(rule, **{name: choices[choices.index(value) - 1]})
    if isinstance(value, bool):
        return replace(rule, **{name: not value})
    return rule if value is None else replace(rule, **{name: type(value)(0.95 * value)})


@with_peers
@pytest.mark.parametrize("peer", PEERS)
def test_every_rule_agrees(there: str) -> None:
    found = list(compare(there))
    assert [each for each in found if not each.holds] == []
    assert any(each.by_design for each in found)


@with_peers
@pytest.mark.parametrize("peer", PEERS)
def test_the_readme_has_the_tables(there: str) -> None:
    """Every line, but for the differences themselves, which machines may round otherwise."""
    between = re.search(f"<!-- {there} -->\n(.*)<!-- /{there} -->", (ROOT / "docs" / "conformance.md").read_text(), re.DOTALL)
    assert between is not None

    def lines(text: str) -> list[str]:
        return [re.sub(r"\| (below )?[0-9.]+(e[+-]\d+)? (?=\|( \S+ \|)?$)", "| ", line) for line in text.splitlines()]

    assert lines(between[1]) == lines(markdown(list(compare(there))))


@with_peers
@pytest.mark.parametrize(("peer", "rule"), RULES)
def test_every_setting_of_ours_shows(there: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, real = registry.load("algorithms", rule), batches.step
    shared = {field.name for field in fields(PolicyGradient)}
    silent = set()
    for field in fields(kind):
        if field.name in shared:
            continue

        def step(rule: Any, now: Forward, of: Batch, name: str = field.name) -> Any:
            return real(other_setting(rule, name) if type(rule) is kind else rule, now, of)

        monkeypatch.setattr(batches, "step", step)
        if agree(there, rule):
            silent.add(field.name)
    assert silent <= SILENT.get(rule, set()) | UNKNOWN.get((there, rule), set())


@with_peers
@pytest.mark.parametrize(("peer", "rule"), RULES)
def test_an_advantage_of_the_wrong_sign_shows(there: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = registry.load("algorithms", rule)
    real = kind.surrogate

    def surrogate(self: Any, now: Forward, batch: Batch, credit: Any) -> Tensor:
        return real(self, now, batch, replace(credit, advantage=-credit.advantage))  # type: ignore[no-any-return]

    monkeypatch.setattr(kind, "surrogate", surrogate)
    assert not agree(there, rule)


@with_peers
@pytest.mark.parametrize(
    ("peer", "rule", "name"),
    [
        *((peer, rule, name) for peer, rule in (("trl", "dapo"), ("verl", "grpo")) for name in ("kl", "kl_estimator", "entropy_bonus")),
        ("sb3", "ppo", "entropy_bonus"),
        ("sb3", "a2c", "entropy_bonus"),
    ],
)
def test_the_terms_that_rules_share_show(there: str, rule: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = batches.step
    monkeypatch.setattr(batches, "step", lambda rule, now, of: real(other_setting(rule, name), now, of))
    assert not agree(there, rule)


@with_peers
@pytest.mark.parametrize("peer", PEERS)
def test_a_pull_in_the_reward_shows_wherever_it_is_tried(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PolicyGradient, "shaped", lambda self, batch: ops.masked(batch.reward, batch.mask))
    shown: dict[tuple[str, str], bool] = {}
    for each in compare(there):
        if "kl_estimator=k1" in each.settings:
            shown[each.rule, each.settings] = shown.get((each.rule, each.settings), False) or not each.holds
    assert [place for place, noticed in shown.items() if not noticed] == []


@with_peers
@pytest.mark.parametrize("peer", ["trl"])
@pytest.mark.parametrize("method", ["loss", "margin"])
@pytest.mark.parametrize("fault", [lambda rule: replace(rule, beta=0.95 * rule.beta), lambda rule: replace(rule, per_token=True), None])
def test_a_fault_in_dpo_shows(there: str, method: str, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = getattr(DPO, method)

    def changed(self: DPO, better: Any, worse: Any) -> Any:
        return real(fault(self), better, worse) if fault else real(self, worse, better)

    monkeypatch.setattr(DPO, method, changed)
    assert not agree(there, "dpo")


@with_peers
@pytest.mark.parametrize(("peer", "part", "formula"), PARTS)
def test_a_fault_in_what_rules_share_shows(there: str, part: str, formula: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = getattr(ops, formula)
    monkeypatch.setattr(ops, formula, lambda *given: 1.001 * real(*given))
    assert not agree(there, part)
