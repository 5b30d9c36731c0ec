"""Correcting what the sampler rounds: a factor on each token's surrogate, the same for every rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from algorithms.base import Credit, PolicyGradient
from bench import registry
from bench.checks.batches import batch, forward
from bench.loops.mismatch import mend

RULES = [n for n in registry.names("algorithms") if issubclass(registry.load("algorithms", n), PolicyGradient)]


@pytest.mark.parametrize("name", RULES)
def test_a_factor_on_the_advantage_is_a_factor_on_the_surrogate(name: str) -> None:
    rule, of = registry.load("algorithms", name)(), batch("mismatch")
    now, credit = forward(of, "mismatch now"), rule.credit(of)
    factor = torch.rand(of.mask.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    plain, scaled = (rule.surrogate(now, of, replace(credit, advantage=credit.advantage * by)) for by in (1.0, factor))
    torch.testing.assert_close(scaled, plain * factor, atol=1e-12, rtol=1e-12)
    slopes = [torch.autograd.grad(x.sum(), now.logp, retain_graph=True)[0] for x in (plain * factor, scaled) if x.requires_grad]
    assert all(torch.allclose(slopes[0], slope, atol=1e-12) for slope in slopes)


def test_the_factor_is_the_capped_ratio_of_trainer_to_sampler() -> None:
    of = batch("mismatch")
    credit = Credit(torch.ones_like(of.old_logp), torch.ones_like(of.old_logp))
    sampler = of.old_logp.clone()
    sampler[0, 0] -= 0.1  # the sampler thought less of it: ratio 1.105
    sampler[1, 1] -= 3.0  # ratio 20, above the cap
    sampler[2, 0] += 0.7  # ratio 0.497, which no cap raises
    sampler[~of.mask] = -50.0  # what stands in the padding counts for nothing
    found, told = mend(credit, of, sampler, 2.0)
    wanted = torch.ones_like(of.old_logp)
    wanted[0, 0], wanted[1, 1], wanted[2, 0] = torch.e**0.1, 2.0, torch.e**-0.7
    torch.testing.assert_close(found.advantage[of.mask], wanted[of.mask])
    assert told["rollout/tis_capped_frac"] == pytest.approx(1 / int(of.mask.sum()))
    assert told["rollout/tis_mean"] == pytest.approx(float(wanted[of.mask].mean()))
    assert torch.equal(found.weight, credit.weight)


def test_no_cap_no_correction() -> None:
    of = batch("mismatch")
    credit = Credit(torch.ones_like(of.old_logp), torch.ones_like(of.old_logp))
    assert mend(credit, of, of.old_logp - 1, 0.0) == (credit, {})
