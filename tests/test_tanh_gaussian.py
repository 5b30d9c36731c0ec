"""The density of a squashed Gaussian: it integrates to 1, and is exact where tanh is saturated."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext

import pytest
import torch
from torch import Tensor

from algorithms import tanh_gaussian


def output(mean: float, deviation: float, rows: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """What a policy network gives for one dimension, in every row."""
    return torch.tensor([mean, math.log(deviation)], dtype=dtype).expand(rows, 2)


def masses(density: Tensor, width: Tensor | float) -> float:
    return (density.exp() * width).sum().item()


@pytest.mark.parametrize(("mean", "deviation"), [*itertools.product([0.0, 0.4, -0.8], [0.1, 0.3, 0.6])])
def test_it_integrates_to_one(mean: float, deviation: float) -> None:
    """By the midpoint rule on even cells of [-1, 1]."""
    cells = 200_000
    action = (torch.arange(cells, dtype=torch.float64) + 0.5) * (2 / cells) - 1
    found = tanh_gaussian.log_density(output(mean, deviation, cells), action.atanh().unsqueeze(-1))
    assert masses(found, 2 / cells) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (0.0, 2.0), (3.0, 0.5), (-6.0, 1.0), (8.0, 2.0), (0.0, math.exp(-3))])
def test_it_integrates_to_one_where_it_piles_up_at_the_bounds(mean: float, deviation: float) -> None:
    """On cells of [-1, 1] that grow finer towards the bounds; their widths are differences of tanh, so no slope of it is used."""
    edges = torch.linspace(-18, 18, 400_001, dtype=torch.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    # tanh(b) - tanh(a) = sinh(b - a) / (cosh a cosh b), which does not cancel
    width = (edges[1:] - edges[:-1]).sinh() / (edges[1:].cosh() * edges[:-1].cosh())
    found = tanh_gaussian.log_density(output(mean, deviation, len(middle)), middle.unsqueeze(-1))
    assert masses(found, width) == pytest.approx(1, abs=1e-6)


def test_dimensions_are_independent() -> None:
    outputs = torch.tensor([[0.3, -1.0, -0.5, 0.2]], dtype=torch.float64)  # means, then logarithms of deviations
    before = torch.tensor([[0.7, -2.0]], dtype=torch.float64)
    each = [tanh_gaussian.log_density(outputs[:, k::2], before[:, k : k + 1]) for k in range(2)]
    torch.testing.assert_close(tanh_gaussian.log_density(outputs, before), each[0] + each[1], rtol=1e-14, atol=0)


def exact_log_slope(u: float) -> float:
    """log(1 - tanh(u)^2) with 60 digits."""
    with localcontext() as context:
        context.prec = 60
        e, inverse = Decimal(u).exp(), Decimal(-u).exp()
        return float((Decimal(4) / (e + inverse) ** 2).ln())


@pytest.mark.parametrize("u", [0.0, 1e-4, 0.5, 3.0, 6.0, 7.0, 8.0, 20.0, 50.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 2e-6)])
def test_the_slope_of_tanh_is_exact(u: float, dtype: torch.dtype, tolerance: float) -> None:
    for x in (u, -u):
        found = tanh_gaussian.log_slope(torch.tensor(x, dtype=dtype)).item()
        assert found == pytest.approx(exact_log_slope(float(torch.tensor(x, dtype=dtype))), rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(("u", "off"), [(6.0, 0.04), (7.0, 0.26), (8.0, 1.2)])
def test_the_usual_formula_is_not(u: float, off: float) -> None:
    """log(1 - a^2 + 1e-6), as other libraries have it; this is the error that ours does not make."""
    usual = math.log(1 - math.tanh(u) ** 2 + 1e-6)
    assert usual - exact_log_slope(u) == pytest.approx(off, rel=0.05)


def test_a_draw_comes_with_its_own_density() -> None:
    source = torch.Generator().manual_seed(0)
    outputs = torch.randn(50, 6, generator=source, dtype=torch.float64)
    noise = torch.randn(50, 3, generator=source, dtype=torch.float64)
    action, logp = tanh_gaussian.sample(outputs, noise)
    torch.testing.assert_close(logp, tanh_gaussian.log_density(outputs, action.atanh()), rtol=1e-6, atol=1e-6)  # atanh loses digits
    assert torch.equal(tanh_gaussian.sample(outputs, 0 * noise)[0], tanh_gaussian.mode(outputs))


def test_draws_follow_the_density() -> None:
    """The share of draws below a bound is the density's integral up to it."""
    noise = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    action, _ = tanh_gaussian.sample(output(0.4, 0.7, len(noise)), noise)
    for bound in (-0.5, 0.2, 0.6):
        wanted = torch.special.ndtr(torch.tensor((math.atanh(bound) - 0.4) / 0.7, dtype=torch.float64)).item()
        assert (action < bound).double().mean().item() == pytest.approx(wanted, abs=5e-3)


def test_gradients_flow_through_a_draw() -> None:
    """The entropy's slope along the logarithm of the deviation, by one draw each, averages to its numerical derivative."""
    noise = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_std = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)

    def entropy(x: Tensor) -> Tensor:
        outputs = torch.stack([torch.full_like(x, 0.3), x]).expand(len(noise), 2)
        return -tanh_gaussian.sample(outputs, noise)[1].mean()

    (slope,) = torch.autograd.grad(entropy(log_std), log_std)
    with torch.no_grad():
        difference = (entropy(log_std + 1e-4) - entropy(log_std - 1e-4)) / 2e-4
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-6)


def test_the_deviation_is_bounded() -> None:
    extreme = torch.tensor([[0.0, 100.0], [0.0, -100.0]], dtype=torch.float64)
    assert tanh_gaussian.parts(extreme)[1].tolist() == [[2.0], [-20.0]]
