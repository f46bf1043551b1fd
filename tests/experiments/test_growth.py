"""What is written anew of UGC: its densities in closed form, its ratios, its bounds; and the noisy bit."""

import numpy as np
import pytest

from experiments.tools.growth import RATIOS, certified_complexity, complexities, noisy_bit, tightest
from mdm_jax import oracles
from mdm_jax.theory import plans, profiles


def one_bit(length):
    """Every token says the same bit: ``q`` is ``d (d - 1) log 2 r^2 (1 - r)^d`` (arXiv 2608.13520, equation 24a)."""
    return np.log(2) * np.eye(length)[0]


@pytest.mark.core
def test_the_complexities_of_one_bit_are_those_of_the_closed_density():
    length, reach = 32, np.log(31)
    at = np.linspace(-reach, reach, 20_001)
    r = 1 / (1 + np.exp(-at))
    density = length * (length - 1) * np.log(2) * r**2 * (1 - r) ** length
    wanted = 2 * reach * np.trapezoid(density, at), np.trapezoid(np.sqrt(density), at) ** 2
    np.testing.assert_allclose(complexities(one_bit(length)), wanted, rtol=1e-7)


@pytest.mark.core
@pytest.mark.parametrize("wrong", RATIOS)
def test_the_ratios_of_the_paper(wrong):
    coarse, fine = complexities(noisy_bit(wrong).profile)
    assert coarse / fine == pytest.approx(RATIOS[wrong], abs=0.01)


@pytest.mark.core
def test_the_noisy_bit_is_a_mixture_of_two():
    law = noisy_bit(0.2, length=6)
    biased = np.broadcast_to([[[0.8, 0.2]], [[0.2, 0.8]]], (2, 6, 2))
    np.testing.assert_allclose(law.profile, oracles.mixture(np.full(2, 0.5), biased).entropies(), rtol=1e-5)
    rows = law.rows(np.random.default_rng(0), 20_000, np.arange(6))
    errors = rows.std(axis=0) / np.sqrt(len(rows))
    assert (np.abs(rows.mean(axis=0) - law.profile) < 4 * errors + 1e-12).all()


@pytest.mark.core
@pytest.mark.parametrize("wrong", [0.1, 0.45])
def test_their_bounds_are_bounds(wrong):
    exact = profiles.from_values(noisy_bit(wrong, length=40).profile)
    lost = plans.optimal_for_every_budget(exact).nelbo - exact.nelbo()
    sharp = tightest(exact.values)
    assert np.isinf(sharp[:2]).all()
    assert (sharp[2:] >= lost[2:] - 1e-12).all()
    assert sharp[-1] == pytest.approx(0, abs=1e-12)
    fine = complexities(exact.values)[1]
    every = [certified_complexity(exact, ratio, 3.0) for ratio in (2.0, 1.3, 1.01)]
    assert every[0] > every[1] > every[2] > fine
    assert every[2] == pytest.approx(fine, rel=0.02)
