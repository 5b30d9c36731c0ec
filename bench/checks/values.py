"""What a rule that learns from transitions promises of its losses and of how it acts. Tensors are float64 unless a promise is about
another type."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from algorithms.value import ValueRule
from bench.checks.batches import Draw, close, generator
from bench.checks.expect import DoesNotApply, expect
from bench.checks.transitions import OBSERVATION, ROWS, Case, Losses, cases, leaves, slopes

SEEDS = 4


def gives_a_loss_per_transition(rule: ValueRule) -> None:
    """Every loss names something learnt, everything learnt has a loss, and each is (..., B) finite numbers, also with axes in front."""
    for lead in ((), (2,), (3, 2)):
        for case in cases(rule, "shape", lead):
            found = case.losses()
            learnt = [name for name in case.parts if name not in case.followers]
            expect({name for name, _ in found} == set(learnt), f"losses move {[n for n, _ in found]}, but {learnt} are to be learnt")
            for name, loss in found:
                wanted = (*lead, ROWS)
                expect(loss.shape == wanted, f"the loss of {name} has shape {tuple(loss.shape)} instead of {wanted}")
                expect(loss.isfinite().all(), f"the loss of {name} is not finite")
            for name, probe in case.rule.probes(case.nets, case.batch, case.noise).items():
                expect(probe.shape == lead, f"the probe {name} has shape {tuple(probe.shape)} instead of {lead}")
                expect(probe.isfinite().all(), f"the probe {name} is not finite")
            value = rule.value(case.nets, case.batch.obs, case.batch.action)
            expect(value is None or value.shape == (*lead, ROWS), "value does not give a number for each transition")


def keeps_seeds_apart(rule: ValueRule) -> None:
    """Losses, slopes and probes of several seeds at once are those of each seed alone, however the axes in front are arranged."""
    for case in cases(rule, "seeds", (SEEDS,)):
        case = leaves(case)
        whole, probes = case.losses(), rule.probes(case.nets, case.batch, case.noise)
        square = case.map(lambda x: x.unflatten(0, (2, -1)))
        _same(square.losses(), [(name, loss.unflatten(0, (2, -1))) for name, loss in whole], "with two axes in front")
        for seed in range(SEEDS):
            alone = leaves(case.map(lambda x, s=seed: x[s]))  # type: ignore[misc]
            own = alone.losses()
            _same(own, [(name, loss[seed]) for name, loss in whole], "of a seed alone")
            for name, probe in rule.probes(alone.nets, alone.batch, alone.noise).items():
                close(probe, probes[name][seed], f"probe {name} of a seed alone")
            for (name, loss), (_, one) in zip(whole, own, strict=True):
                for stacked, slope in zip(slopes(case, name, loss), slopes(alone, name, one), strict=True):
                    close(slope, stacked[seed], f"slope of the loss of {name} of a seed alone")


def agrees_with_vmap(rule: ValueRule) -> None:
    """Losses of stacked seeds are what torch.vmap makes of the losses of one seed."""
    for case in cases(rule, "vmap", (SEEDS,)):
        names = [name for name, _ in case.losses()]

        def losses(weights: dict[str, list[Tensor]], batch: dict[str, Tensor], noise: dict[str, Tensor], case: Case = case) -> list[Tensor]:
            one = replace(case, weights=weights, batch=replace(case.batch, **batch), noise=noise)
            return [loss for _, loss in one.losses()]

        try:
            found = torch.vmap(losses)(dict(case.weights), dict(vars(case.batch)), case.noise)
        except RuntimeError as error:  # not every operation has a batching rule
            raise DoesNotApply(f"vmap does not take it: {error}") from error
        _same(list(zip(names, found, strict=True)), case.losses(), "under vmap")


def keeps_rows_apart(rule: ValueRule) -> None:
    """A transition's losses depend on no other transition and not on its place."""
    for case in cases(rule, "rows"):
        whole = case.losses()
        order = torch.randperm(ROWS, generator=generator("rows"))
        for index in (order, order[:2], *torch.arange(ROWS).split(1)):
            _same(case.rows(index).losses(), [(name, loss[index]) for name, loss in whole], f"of rows {index.tolist()}")


def nothing_follows_an_end(rule: ValueRule) -> None:
    """Where `terminal` is 1, or `discount` is 0, no loss depends on a delayed copy or on the state that follows; after an end, no probe."""
    for case in cases(rule, "end"):
        zero, one = torch.zeros(ROWS, dtype=torch.float64), torch.ones(ROWS, dtype=torch.float64)
        ended = case.with_batch(terminal=one, discount=one)
        wanted = ended.losses()
        copies = {name: [w + 3 for w in layers] if name in case.followers else layers for name, layers in case.weights.items()}
        elsewhere = Draw("elsewhere", shape=(ROWS, OBSERVATION)).normal("next")
        for title, changed in (("an end", ended), ("a discount of 0", case.with_batch(terminal=zero, discount=zero))):
            _same(changed.losses(), wanted, f"with {title}")
            _same(replace(changed, weights=copies).losses(), wanted, f"with {title} and other delayed copies")
            if case.space.discrete or not rule.proposes_ahead:
                _same(changed.with_batch(next_obs=elsewhere).losses(), wanted, f"with {title} and another state after it")
        if case.space.discrete or not rule.proposes_ahead:
            probes, others = (rule.probes(of.nets, of.batch, of.noise) for of in (ended, ended.with_batch(next_obs=elsewhere)))
            for name, probe in probes.items():
                close(others[name], probe, f"probe {name} with an end and another state after it")


def is_pure(rule: ValueRule) -> None:
    """The same inputs give the same losses, probes and actions, are left as they were, and no global source of chance is used."""
    for case in cases(rule, "pure"):
        before = case.map(torch.clone)
        states = torch.get_rng_state(), random.getstate()
        found = [_everything(case) for _ in range(2)]
        expect(torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate(), "a global source of chance was used")
        for name in found[0]:
            expect(torch.equal(found[0][name], found[1][name]), f"{name} is something else when asked for again")
        pairs = [*zip(vars(before.batch).items(), vars(case.batch).values(), strict=True)]
        pairs += zip(before.noise.items(), case.noise.values(), strict=True)
        pairs += [((name, w), now) for name in before.weights for w, now in zip(before.weights[name], case.weights[name], strict=True)]
        changed = [name for (name, held), now in pairs if not torch.equal(held, now)]
        expect(not changed, f"the rule changed its input {', '.join(changed)}")


def stays_on_its_device(rule: ValueRule) -> None:
    """Every result lies on the inputs' device, and no number is fetched from it: torch's meta device holds none."""
    for case in cases(rule, "device"):
        away = case.map(lambda x: x.to("meta"))
        for name, value in _everything(away).items():
            expect(value.is_meta, f"{name} is made on another device than its inputs")


def acts_legally(rule: ValueRule) -> None:
    """`act` and `explore` give actions of the space, whatever the chance numbers, also from extreme networks."""
    for dtype in (torch.float32, torch.float64):
        for case in cases(rule, "act", (2,), dtype):
            chances = Draw("chances", dtype, (2, ROWS, 2)).uniform("uniform")
            normals = Draw("chances", dtype, (2, ROWS, case.space.actions)).normal("normal")
            for scale in (1.0, 50.0):
                extreme = replace(
                    case, weights={n: [*layers[:-2], *(scale * w for w in layers[-2:])] for n, layers in case.weights.items()}
                )
                nets, obs = extreme.nets, case.batch.obs
                _legal(case, rule.act(nets, obs, case.space), "act")
                for uniform in (chances, torch.zeros_like(chances), torch.full_like(chances, 1 - 2**-24)):
                    for normal in (normals, 1e3 * normals):
                        for spent in (0.0, 0.5, 1.0):
                            _legal(case, rule.explore(nets, obs, case.space, uniform, normal, spent), "explore")


def _legal(case: Case, action: Tensor, who: str) -> None:
    if case.space.discrete:
        expect(action.shape == (2, ROWS), f"{who} gives shape {tuple(action.shape)} instead of {(2, ROWS)}")
        expect(not action.is_floating_point(), f"{who} gives {action.dtype}, but actions are integers")
        expect(((action >= 0) & (action < case.space.actions)).all(), f"{who} gives an action outside 0 to {case.space.actions - 1}")
    else:
        expect(action.shape == (2, ROWS, case.space.actions), f"{who} gives shape {tuple(action.shape)}")
        expect(action.dtype == case.batch.obs.dtype, f"{who} gives {action.dtype} for {case.batch.obs.dtype}")
        expect((action.abs() <= 1).all(), f"{who} gives an action outside [-1, 1]")


def _everything(case: Case) -> dict[str, Tensor]:
    """Losses, probes, values and actions by name."""
    rule, nets, obs = case.rule, case.nets, case.batch.obs
    found = {f"the loss of {name}": loss for name, loss in case.losses()}
    found |= {f"the probe {name}": probe for name, probe in rule.probes(nets, case.batch, case.noise).items()}
    found["act"] = rule.act(nets, obs, case.space)
    uniform = Draw("everything", case.batch.obs.dtype, (ROWS, 2)).uniform("uniform").to(obs.device)
    normal = Draw("everything", case.batch.obs.dtype, (ROWS, case.space.actions)).normal("normal").to(obs.device)
    found["explore"] = rule.explore(nets, obs, case.space, uniform, normal, 0.05)
    value = rule.value(nets, obs, case.batch.action)
    return found if value is None else found | {"value": value}


def _same(found: Losses, wanted: Losses, when: str) -> None:
    names = [name for name, _ in found]
    expect(names == [name for name, _ in wanted], f"{when}, the losses move {names}")
    for (name, loss), (_, other) in zip(found, wanted, strict=True):
        close(loss.detach(), other.detach(), f"loss of {name} {when}")


ASKS = ValueRule
CONTRACTS: list[tuple[str, Callable[[ValueRule], None]]] = [
    ("everything learnt has a finite loss per transition", gives_a_loss_per_transition),
    ("seeds at once are each seed alone", keeps_seeds_apart),
    ("seeds at once are what vmap makes of one", agrees_with_vmap),
    ("transitions are independent and in any order", keeps_rows_apart),
    ("nothing follows an end", nothing_follows_an_end),
    ("pure: same twice, inputs untouched, no global chance", is_pure),
    ("stays on its device and asks it for no number", stays_on_its_device),
    ("actions are legal", acts_legally),
]
