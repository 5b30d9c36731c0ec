"""Identities of the value rules, the direction of their steps, and the limits in which one becomes another."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms import tanh_gaussian
from algorithms.bc import BC
from algorithms.cql import CQL
from algorithms.dqn import DQN
from algorithms.sac import SAC
from algorithms.value import Space, Transitions, ValueRule, drawn
from bench.checks import chains
from bench.checks.batches import close, generator
from bench.checks.transitions import Case, cases, leaves, slopes

BOTH = pytest.mark.parametrize("discrete", [True, False], ids=["discrete", "continuous"])


def case_of(rule: ValueRule, name: str, discrete: bool) -> Case:
    return next(case for case in cases(rule, name) if case.space.discrete == discrete)


def losses(case: Case) -> dict[str, Tensor]:
    return {name: loss.detach() for name, loss in case.losses()}


@BOTH
@pytest.mark.parametrize("form", ["log", "linear"])
@pytest.mark.parametrize("above", [0.5, -0.5])
def test_the_temperature_rises_where_the_entropy_is_too_low(form: Any, above: float, discrete: bool) -> None:
    case = leaves(case_of(SAC(temperature_loss=form), "temperature", discrete))
    entropy = case.rule.probes(case.nets, case.batch, case.noise)["entropy/policy"].item()
    case = replace(case, rule=SAC(temperature_loss=form, target_entropy=entropy + above))
    name, loss = case.losses()[0]
    (slope,) = slopes(case, name, loss / len(loss))
    alpha = case.weights[name][0].item()
    assert name == "log_temperature"
    assert slope.item() == pytest.approx(-above * (math.exp(alpha) if form == "linear" else 1.0))  # descent moves against it


@BOTH
def test_the_wanted_entropy_has_its_usual_start(discrete: bool) -> None:
    case = case_of(SAC(), "wanted", discrete)
    probes = case.rule.probes(case.nets, case.batch, case.noise)
    wanted = 0.89 * math.log(4) if discrete else -2.0
    assert (probes["entropy/policy"] - probes["entropy/surplus"]).item() == pytest.approx(wanted)


@BOTH
def test_the_multiplier_rises_where_the_gap_is_above_the_threshold(discrete: bool) -> None:
    for threshold, sign in ((-50.0, -1), (50.0, 1)):
        case = leaves(case_of(CQL(threshold=threshold), "multiplier", discrete))
        name, loss = next((n, x) for n, x in case.losses() if n == "log_multiplier")
        assert all((sign * slope > 0).all() for slope in slopes(case, name, loss))


def test_the_penalty_is_never_negative_with_discrete_actions() -> None:
    """The exact log-sum-exp is above every value."""
    for scale in (0.0, 1.0, 30.0, 300.0):
        case = case_of(CQL(), "penalty", True)
        weights = case.weights | {"q": [*case.weights["q"][:2], *(scale * w for w in case.weights["q"][2:])]}
        found, plain = (losses(replace(case, rule=rule, weights=weights))["q"] for rule in (CQL(), CQL(weight=0.0)))
        assert (found >= plain - 1e-12).all()
        if not scale:
            close(found - plain, torch.full_like(plain, math.log(4)), "penalty of equal values")


def test_a_step_raises_the_logged_actions_and_lowers_all_others() -> None:
    """On a table of values whose temporal difference is 0, so that only the penalty moves it."""
    table = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    eye, action = torch.eye(3, dtype=torch.float64), torch.tensor([1, 0, 3])
    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    nets = {"q": lambda x: x @ table, "q_target": lambda x: x @ table.detach()}
    ((_, loss),) = CQL().updates(nets, Transitions(eye, action, zero, eye, one, one), {})
    (slope,) = torch.autograd.grad(loss.sum(), table)
    logged = torch.zeros_like(slope).scatter(1, action.unsqueeze(-1), 1.0).bool()
    assert (slope[logged] < 0).all() and (slope[~logged] > 0).all()  # descent goes against it
    close(slope.sum(-1), zero, "what is given to one is taken from the others")


CELLS = 20


class Cells:
    """Two critics of one state that know 20 cells of [-1, 1] and a value for each."""

    def __init__(self) -> None:
        self.table = torch.randn(2, CELLS, generator=generator("cells"), dtype=torch.float64).requires_grad_()

    def __call__(self, x: Tensor) -> Tensor:
        return self.table[:, self.cell(x[..., -1])].unsqueeze(-1)

    @staticmethod
    def cell(action: Tensor) -> Tensor:
        return ((action + 1) / 2 * CELLS).long().clamp(0, CELLS - 1)


def one_dimension(rule: CQL) -> tuple[Cells, dict[str, Any], Transitions, dict[str, Tensor]]:
    """Two transitions of a world without state that the policy acts in by a Gaussian; what its logarithm needs is in `noise`."""
    cells, space = Cells(), Space(1, 1, discrete=False)
    zero, one = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    state = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    action = torch.tensor([[-0.57], [0.33]], dtype=torch.float64)
    nets = {
        "q": cells,
        "q_target": cells,
        "policy": lambda x: torch.cat([0.3 - 0.5 * x, torch.full_like(x, -0.5)], -1),
        "log_temperature": lambda: zero[:1],
    }
    noise = {}
    for name, n in rule.noise(space).items():
        draw = torch.randn if n.kind == "normal" else torch.rand
        noise[name] = draw(n.rows * 2, n.width, generator=generator(f"one:{name}"), dtype=torch.float64)
    return cells, nets, Transitions(state, action, zero, 1 - state, one, one), noise


@pytest.mark.parametrize("importance", [True, False])
def test_a_step_raises_the_logged_cells_and_lowers_all_others(importance: bool) -> None:
    rule = CQL(samples=200, importance=importance)
    cells, nets, batch, noise = one_dimension(rule)
    (slope,) = torch.autograd.grad(rule.gap(nets, batch, noise).sum(), cells.table)
    logged = Cells.cell(batch.action[:, 0])
    rest = torch.ones(CELLS, dtype=torch.bool).scatter(0, logged, False)
    assert (slope[:, logged] < 0).all() and (slope[:, rest] > 0).all()
    close(slope.sum(-1), torch.zeros(2, dtype=torch.float64), "what is given to one is taken from the others")


def test_the_sampled_log_sum_exp_is_the_integral() -> None:
    """But for log(3 K), which is left out."""
    rule = CQL(samples=100_000)
    cells, nets, batch, noise = one_dimension(rule)
    wanted = (cells.table.exp() * 2 / CELLS).sum(-1).log()
    found = rule.gap(nets, batch, noise) + cells.table[:, Cells.cell(batch.action[:, 0])] - math.log(3 * rule.samples)
    torch.testing.assert_close(found.detach(), wanted.detach().unsqueeze(-1).expand(2, 2), rtol=0, atol=0.01)


def test_without_importance_it_is_the_mean_under_what_it_draws_from() -> None:
    rule = CQL(samples=100_000, importance=False)
    cells, nets, batch, noise = one_dimension(rule)
    edges = torch.linspace(-1, 1, CELLS + 1, dtype=torch.float64)
    shares = [edges.diff() / 2]
    for state in (0.0, 1.0):
        share = torch.special.ndtr((edges.atanh() - (0.3 - 0.5 * state)) / math.exp(-0.5)).diff()
        shares.append(share)
    mean = (torch.stack(shares).mean(0) * cells.table.exp()).sum(-1).log()  # each of the two states follows the other
    found = rule.gap(nets, batch, noise) + cells.table[:, Cells.cell(batch.action[:, 0])] - math.log(3 * rule.samples)
    torch.testing.assert_close(found.detach(), mean.detach().unsqueeze(-1).expand(2, 2), rtol=0, atol=0.01)


def test_without_a_penalty_cql_is_double_dqn() -> None:
    case = case_of(CQL(weight=0.0), "plain", True)
    close(losses(case)["q"], losses(replace(case, rule=DQN(double=True)))["q"], "loss")


@pytest.mark.parametrize("learnt", [True, False])
def test_without_a_penalty_cql_is_sac_with_whole_squares(learnt: bool) -> None:
    case = case_of(CQL(weight=0.0, backup="soft", learn_temperature=learnt, temperature=0.5), "plain", False)
    found = losses(case)
    wanted = losses(replace(case, rule=SAC(learn_temperature=learnt, temperature=0.5, temperature_loss="linear")))
    close(found.pop("q"), 2 * wanted.pop("q"), "loss of the critics")
    for name, loss in found.items():
        close(loss, wanted[name], f"loss of {name}")


def test_backups_agree_where_nothing_is_left_to_chance() -> None:
    """The mean action is the draw of a noise of 0; the draw with entropy is the draw where the temperature is next to nothing."""
    for one, other, noise in (("mean_action", "sampled", 0.0), ("sampled", "soft", 1.0)):
        found = []
        for backup in (one, other):
            case = case_of(CQL(backup=backup, learn_temperature=False, temperature=1e-9), "backup", False)  # type: ignore[arg-type]
            found.append(losses(replace(case, noise=case.noise | {"next": noise * case.noise["next"]}))["q"])
        close(*found, f"loss with the backups {one} and {other}", 1e-6)


def test_double_dqn_is_dqn_as_long_as_the_copy_is_fresh() -> None:
    for dueling in (True, False):
        case = case_of(DQN(dueling=dueling), "fresh", True)
        fresh = replace(case, weights=case.weights | {"q_target": case.weights["q"]})
        double = DQN(dueling=dueling, double=True)
        close(losses(fresh)["q"], losses(replace(fresh, rule=double))["q"], "loss")
        assert (losses(case)["q"] - losses(replace(case, rule=double))["q"]).abs().max() > 1e-3


def test_a_dueling_network_has_mean_advantage_0() -> None:
    out = torch.randn(5, 4, generator=generator("dueling"), dtype=torch.float64)
    close(DQN(dueling=True).values(out).mean(-1), out[:, 0], "mean of the action values")


def test_sac_without_temperature_is_the_expected_value() -> None:
    """The policy's loss is minus the expected lower value, and next to a greedy policy the target is DQN's of the lower critic."""
    case = case_of(SAC(learn_temperature=False, temperature=1e-9), "cold", True)
    chance = case.nets["policy"](case.batch.obs).softmax(-1)
    low = case.nets["q"](case.batch.obs).amin(0)
    close(losses(case)["policy"], -(chance * low).sum(-1), "loss of the policy", 1e-8)


def test_the_first_sac_is_the_second_where_its_value_network_is_right() -> None:
    """If the delayed value is the soft value of the delayed critics, both have one target."""
    case = case_of(SAC(temperature=0.3, learn_temperature=False), "versions", True)
    first = case_of(SAC(version="v1", temperature=0.3), "versions", True)
    second = replace(case, weights={name: first.weights[name] for name in ("policy", "q")} | {"q_target": case.weights["q_target"]})
    chance = second.nets["policy"](second.batch.next_obs).log_softmax(-1)
    soft = (chance.exp() * (second.nets["q_target"](second.batch.next_obs).amin(0) - 0.3 * chance)).sum(-1, keepdim=True)
    nets = {**first.nets, "value_target": lambda _: soft}
    close(dict(first.losses(nets))["q"].detach(), losses(second)["q"], "loss of the critics")


def test_random_actions_grow_rare() -> None:
    rule = DQN(epsilon_start=0.8, epsilon_end=0.2, epsilon_share=0.5)
    assert [rule.epsilon(spent) for spent in (0.0, 0.25, 0.5, 0.9)] == pytest.approx([0.8, 0.5, 0.2, 0.2])
    assert DQN(epsilon_share=0.0).epsilon(0.0) == pytest.approx(0.05)


def test_dqn_explores_as_often_as_it_says() -> None:
    case = case_of(DQN(), "explore", True)
    obs = case.batch.obs[:1].expand(40_000, -1)
    chance = torch.rand(40_000, 2, generator=generator("explore"), dtype=torch.float64)
    best = case.rule.act(case.nets, obs[:1], case.space).item()
    for spent, epsilon in ((0.0, 1.0), (0.05, 0.525), (1.0, 0.05)):
        tried = case.rule.explore(case.nets, obs, case.space, chance, chance, spent).bincount(minlength=4) / 40_000
        wanted = torch.full((4,), epsilon / 4).index_fill(0, torch.tensor(best), 1 - epsilon * 3 / 4)
        torch.testing.assert_close(tried, wanted, rtol=0, atol=0.01)


@pytest.mark.parametrize("rule", [SAC(), BC()], ids=lambda r: type(r).__name__)
def test_a_stochastic_policy_explores_by_its_own_probabilities(rule: ValueRule) -> None:
    case = case_of(rule, "explore", True)
    obs = case.batch.obs[:1].expand(40_000, -1)
    chance = torch.rand(40_000, 2, generator=generator("explore"), dtype=torch.float64)
    tried = rule.explore(case.nets, obs, case.space, chance, chance, 0.5).bincount(minlength=4) / 40_000
    torch.testing.assert_close(tried.double(), case.nets["policy"](obs[0:1])[0].softmax(-1), rtol=0, atol=0.01)


def test_rules_for_logs_explore_nothing_that_they_need_not() -> None:
    for rule in (CQL(), BC()):
        case = case_of(rule, "still", rule == CQL())
        chance = torch.rand(6, 2, generator=generator("still"), dtype=torch.float64)
        tried = rule.explore(case.nets, case.batch.obs, case.space, chance, chance, 0.0)
        assert torch.equal(tried, rule.act(case.nets, case.batch.obs, case.space))


def test_sac_and_cql_explore_continuous_actions_by_a_draw() -> None:
    for rule in (SAC(), CQL()):
        case = case_of(rule, "draw", False)
        normal = torch.randn(6, 2, generator=generator("draw"), dtype=torch.float64)
        wanted = tanh_gaussian.sample(case.nets["policy"](case.batch.obs), normal)[0]
        assert torch.equal(rule.explore(case.nets, case.batch.obs, case.space, normal, normal, 0.0), wanted)


def test_draws_invert_the_distribution_function() -> None:
    chance = torch.tensor([0.2, 0.0, 0.5, 0.3])
    uniform = torch.tensor([0.0, 0.19, 0.2, 0.69, 0.71, 0.999999])
    assert drawn(chance.expand(6, -1), uniform).tolist() == [0, 0, 2, 2, 3, 3]


def test_dqn_says_that_it_needs_discrete_actions() -> None:
    with pytest.raises(ValueError, match="needs discrete actions; sac takes continuous ones"):
        DQN().networks(Space(3, 2, discrete=False))


@pytest.mark.parametrize(
    "rule",
    [
        DQN(double=True, dueling=True),
        DQN(loss="mse"),
        SAC(version="v1", temperature=0.2),
        SAC(learn_temperature=False, temperature=0.1),
        CQL(threshold=1.0),
        CQL(backup="soft", weight=5.0, importance=False),
    ],
    ids=repr,
)
def test_variants_learn_a_chain(rule: ValueRule) -> None:
    chains.learns_a_chain(rule)


def test_the_chain_is_worth_what_it_is_by_hand() -> None:
    chain = chains.Chain(Space(chains.PLACES, 2, discrete=True), wise=False)
    straight = [20 * 0.8**k for k in (4, 3, 2, 1, 0)]
    assert chain.best().tolist() == pytest.approx(straight)
    assert chain.worth(torch.ones(5)).tolist() == pytest.approx(straight)
    assert chain.worth(torch.zeros(5)).tolist() == pytest.approx([0.8**k * 0.2 / (1 - 0.8) for k in range(5)])


def test_dqn_finds_the_chains_exact_values(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    act = DQN.act

    def watched(self: DQN, nets: Any, obs: Tensor, space: Space) -> Tensor:
        seen.append(self.values(nets["q"](obs)).detach())
        return act(self, nets, obs, space)

    monkeypatch.setattr(DQN, "act", watched)
    monkeypatch.setattr(chains, "UPDATES", 1500)
    chain = chains.Chain(Space(chains.PLACES, 2, discrete=True), wise=False)
    chains.learnt(DQN(loss="mse"), chain)
    exact = chains.ahead(torch.cat([chain.best(), torch.zeros(1)]))
    torch.testing.assert_close(seen[0], exact.expand_as(seen[0]), rtol=0, atol=0.1)
